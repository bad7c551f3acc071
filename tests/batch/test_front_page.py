"""The page over a batch says what each scan's own page says."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medattn_core.batch import Settings, predict_many
from tests.batch.checks import records, run

pytest.importorskip("PIL")


def rows_of(output: Path) -> list[list[str]]:
    page = (output / "report.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr>(.*?)</tr>", page.partition("<tbody>")[2])
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


def test_a_scan_that_is_not_decided_is_not_shown_as_decided(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    unsure = tmp_path / "unsure"
    shutil.copytree(tiny, unsure)
    path = unsure / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["medattn"]["task"]["threshold"] = 0.999
    metadata["medattn"]["calibration"] = {"abstain": {"threshold": 0.999, "accuracy": 0.9}}
    path.write_text(json.dumps(metadata), encoding="utf-8")
    run(scans[:2], tmp_path / "out", unsure, report=True)
    for record, row in zip(records(tmp_path / "out"), rows_of(tmp_path / "out"), strict=True):
        assert record["abstained"]
        assert row[1] == f"undecided: {record['label']} (below threshold)"
        assert row[2].split() == ["below_threshold", "abstained"]


def test_folders_of_patients_are_in_the_tables_and_on_no_page(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "arch" / "DOE^JOHN" / "2024-01-01"
    folder.mkdir(parents=True)
    paths = [folder / "t1.nii.gz", folder / "broken.nii.gz"]
    image = scans[0].read_bytes()
    paths[0].write_bytes(image)
    paths[1].write_bytes(image[: len(image) // 2])
    out = tmp_path / "out"
    run([*paths, folder / "absent.nii.gz"], out, tiny, report=True)
    assert [record["error"] is None for record in records(out)] == [True, False, False]
    assert "DOE^JOHN" in (out / "predictions.csv").read_text(encoding="utf-8")
    pages = [path.read_text(encoding="utf-8") for path in out.glob("*.html")]
    assert len(pages) == 2
    for page in pages:
        assert "JOHN" not in page
        assert "2024-01-01" not in page
    assert [row[2].partition(":")[0] for row in rows_of(out)][1:] == ["broken.nii.gz", "absent.nii.gz"]


def test_folders_of_masks_and_channels_are_on_no_page(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "arch" / "DOE^JOHN"
    folder.mkdir(parents=True)
    mask, channel, out = folder / "region.nii.gz", folder / "pet.nii.gz", tmp_path / "out"
    mask.write_bytes(scans[0].read_bytes()[:200])
    channel.write_bytes(b"")
    settings = Settings(bundle=str(tiny), device="cpu", report=True)
    for inputs, mine, named in (
        ([(scans[0], ())], replace(settings, mask=mask), mask),
        ([(scans[1], (channel,))], settings, channel),
    ):
        assert predict_many(inputs, out, mine).failed == 1
        record = records(out)[-1]
        assert str(named) in record["error"]["message"]
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "JOHN" not in page
        assert named.name in page


def test_a_folder_of_slices_named_after_its_patient_is_on_no_page_and_in_no_file_name(
    tiny: Path, sample_data: Path, tmp_path: Path
) -> None:
    arch, out = tmp_path / "arch", tmp_path / "out"
    for name in ("DOE^JOHN", "ROE^JANE"):
        shutil.copytree(sample_data / "brain1_dicom", arch / name)
    run([arch / "DOE^JOHN", arch / "ROE^JANE"], out, tiny, report=True)
    files = [path.name for path in out.iterdir()]
    assert {"image_report.html", "image_2_report.html"} <= set(files)
    assert not [name for name in files if "JOHN" in name or "JANE" in name]
    for page in out.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "JOHN" not in text
        assert "JANE" not in text


def test_quantities_have_their_unit_and_interval_on_the_page(scans: list[Path], tmp_path: Path) -> None:
    run(scans[:2], tmp_path, "hippocampus_volume", report=True)  # anything that is a volume
    for record, row in zip(records(tmp_path), rows_of(tmp_path), strict=True):
        assert row[1].startswith(f"{record['value']:.4g} mm³".replace("e+0", ""))
        assert "unlike_training" in row[2]
        assert "interval" not in row[1]  # which does not hold for what the model does not know


def test_a_page_that_failed_is_made_once_it_can_be(scans: list[Path], tiny: Path, tmp_path: Path) -> None:
    """The numbers are the same: only what stood in the way of the picture is gone."""
    obstacle = tmp_path / "scan00_overlay.png" / "somebody"
    obstacle.mkdir(parents=True)
    run(scans[:2], tmp_path, tiny, report=True)
    first = records(tmp_path)
    assert [[note["code"] for note in one["warnings"]] for one in first] == [["report_failed"], []]
    obstacle.rmdir()
    obstacle.parent.rmdir()
    summary = run(scans[:2], tmp_path, tiny, report=True)
    assert (summary.count, summary.taken_over) == (2, 1)
    assert (tmp_path / "scan00_overlay.png").is_file()
    assert records(tmp_path) == [{**first[0], "warnings": []}, first[1]]

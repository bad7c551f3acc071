"""Result folders: complete, unique, atomic, and nothing lost when something fails."""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medattn_core import volumes
from medattn_core.errors import MedAttnError, VolumeError
from medattn_core.outputs import ResultWriter, files, save
from medattn_core.outputs.own_files import GENERATOR
from medattn_core.volumes import Volume
from tests.strategies import rotation

if TYPE_CHECKING:
    from tests.outputs.conftest import Predict

pytest.importorskip("PIL")


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".") or p.suffix in (".tmp", ".part")]


def read_json(folder: Path) -> list[dict]:
    return json.loads((folder / "predictions.json").read_text(encoding="utf-8"))


def test_save_one_scan(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    paths = save(predict(head_volume), tmp_path / "new" / "out")
    folder = tmp_path / "new" / "out"
    assert {kind: path.name for kind, path in paths.items()} == {
        "evidence": "head_evidence.nii.gz",
        "overlay": "head_overlay.png",
        "page": "head_report.html",
        "report": "report.html",
        "json": "predictions.json",
        "csv": "predictions.csv",
    }
    assert {path.name for path in paths.values()} == {path.name for path in folder.iterdir()}, "each is named"
    assert all(path.parent == folder and path.stat().st_size > 0 for path in paths.values())
    assert "head.nii.gz" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "head_overlay.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert leftovers(folder) == []


def test_save_without_pictures_under_another_name(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    paths = save(predict(head_volume), tmp_path, name="case 1/a", report=False)
    assert set(paths) == {"evidence", "json", "csv"}
    assert paths["evidence"].name == "case_1_a_evidence.nii.gz"


@pytest.mark.parametrize("kind", ["straight", "oblique", "picture", "picture of a size", "no size"])
def test_evidence_file_lies_on_the_input_and_sums_to_the_logit(
    predict: Predict, head_volume: Volume, picture: Volume, tmp_path: Path, kind: str
) -> None:
    import nibabel as nib

    volume = picture if "picture" in kind else head_volume
    if kind == "picture of a size":
        volume = replace(picture, spacing_known=True, affine=picture.affine @ np.diag([0.5, 0.25, 1.0, 1.0]))
    if kind == "no size":
        volume = replace(head_volume, spacing_known=False, affine=np.eye(4))
    if kind == "oblique":
        affine = head_volume.affine.copy()
        affine[:3, :3] = rotation((0.3, -0.2, 0.4)) @ affine[:3, :3]
        volume = replace(head_volume, affine=affine)
    prediction = predict(volume)
    paths = save(prediction, tmp_path, report=False)
    (record,) = read_json(tmp_path)
    stated = record["evidence"]
    assert stated["path"] == paths["evidence"].name
    units = {"picture": "logit/pixel", "picture of a size": "logit/cm2", "no size": "logit/voxel"}
    assert stated["unit"] == units.get(kind, "logit/mL")
    image = nib.load(paths["evidence"])
    assert image.shape[:3] == volume.shape
    assert np.allclose(image.affine, volume.affine, atol=1e-5)
    assert prediction.label in bytes(image.header["descrip"]).decode()
    back = volumes.read(paths["evidence"])
    assert back.shape == volume.shape
    assert back.data.dtype == np.float32
    edges = volume.affine[:3, :3]
    size = abs(np.linalg.det(edges)) / 1000
    if kind in ("picture", "no size"):
        size = 1.0
    if kind == "picture of a size":
        size = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1])) / 100
    total = back.data.sum(dtype=np.float64) * size
    assert total == pytest.approx(stated["sum"], rel=1e-5)
    logit, bias = record["logits"][record["label"]], record["bias"][record["label"]]
    assert stated["sum"] + stated["residual"] == pytest.approx(logit - bias, rel=1e-6)
    assert abs(bias + total + stated["residual"] - logit) <= 1e-4 * max(1, abs(logit))


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_evidence_is_stored_as_asked_for(predict: Predict, head_volume: Volume, tmp_path: Path, dtype: str) -> None:
    import nibabel as nib

    prediction = predict(head_volume)
    image = nib.load(save(prediction, tmp_path, report=False, evidence_dtype=dtype)["evidence"])
    assert image.get_data_dtype().name == dtype
    wanted = prediction.evidence().density().data
    error = np.abs(np.asarray(image.dataobj) - wanted).max() / np.abs(wanted).max()
    assert error <= 1e-4 if dtype == "int16" else error == 0
    assert (error > 0) == (dtype == "int16")
    with pytest.raises(MedAttnError, match="int16, float32") as caught:
        ResultWriter(tmp_path, evidence_dtype="uint8")
    assert caught.value.code == "bad_argument"


def test_many_inputs(predict: Predict, head_volume: Volume, picture: Volume, tmp_path: Path) -> None:
    again = replace(head_volume, source="elsewhere/HEAD.nrrd")
    error = VolumeError("truncated_file", "scans/<i>bad</i>.nii: the file ends before its voxels; copy it again")
    with ResultWriter(tmp_path, report=True) as writer:
        first = writer.add(predict(head_volume))
        assert len(read_json(tmp_path)) == 1  # already there while the batch runs
        writer.add_error("scans/<i>bad</i>.nii", error)
        second = writer.add(predict(again))
        writer.add(predict(picture))
        assert writer.failed == 1
    assert first["evidence"].name == "head_evidence.nii.gz"
    assert second["evidence"].name == "HEAD_2_evidence.nii.gz"
    names = [p.name for p in tmp_path.iterdir()]
    assert len({name.casefold() for name in names}) == len(names) == 3 * 3 + 3
    records = read_json(tmp_path)
    assert [record["error"]["code"] if record["error"] else None for record in records] == [
        None,
        "truncated_file",
        None,
        None,
    ]
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == [record["input"] for record in records]
    overview = (tmp_path / "report.html").read_text(encoding="utf-8")
    for link in ("head_report.html", "HEAD_2_report.html", "slice_7_report.html"):
        assert f'href="{link}"' in overview
        assert (tmp_path / link).is_file()
    assert "truncated_file" in overview
    assert "<i>" not in overview
    assert "1 failed" in overview
    assert leftovers(tmp_path) == []


def test_a_single_failure_is_listed_too(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, report=True) as writer:
        writer.add_error("a.nii", VolumeError("empty_file", "a.nii: has no bytes; copy it again"))
    assert "a.nii: has no bytes" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert read_json(tmp_path)[0]["error"]["code"] == "empty_file"


def test_an_empty_batch_writes_empty_tables(tmp_path: Path) -> None:
    with ResultWriter(tmp_path):
        pass
    assert read_json(tmp_path) == []


def test_a_fault_in_drawing_loses_no_number(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "head_overlay.png").mkdir()  # the picture cannot take its place
    with ResultWriter(tmp_path, report=True) as writer:
        paths = writer.add(predict(head_volume))
        writer.add(predict(replace(head_volume, source="next.nii")))
    assert set(paths) == {"evidence"}
    first, second = read_json(tmp_path)
    assert first["error"] is None
    assert first["probabilities"] == second["probabilities"]
    assert [warning["code"] for warning in first["warnings"]] == ["report_failed"]
    assert "head.nii.gz" in first["warnings"][0]["message"]
    assert leftovers(tmp_path) == []


def test_pictures_of_an_earlier_result_do_not_stay_beside_the_new_one(
    predict: Predict, head_volume: Volume, picture: Volume, tmp_path: Path
) -> None:
    save(predict(head_volume), tmp_path)
    save(predict(replace(picture, source="other.png")), tmp_path)
    other = {"other_evidence.nii.gz", "other_overlay.png", "other_report.html"}
    save(predict(head_volume, bias=-3.0), tmp_path, report=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"head_evidence.nii.gz", "predictions.json", "predictions.csv"} | other


def test_what_is_ones_own_stays(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    own = {name: f"my own {name}" for name in ("report.html", "head_report.html", "head_overlay.png")}
    for name, text in own.items():
        (tmp_path / name).write_text(text)
    save(predict(head_volume), tmp_path, report=False)
    with ResultWriter(tmp_path) as writer:
        writer.add_error("scans/head.nii.gz", VolumeError("truncated_file", "head.nii.gz: truncated"))
    assert {name: (tmp_path / name).read_text() for name in own} == own
    assert not (tmp_path / "head_evidence.nii.gz").exists()


def test_a_page_of_an_earlier_version_is_known(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    page = save(predict(head_volume), tmp_path)["report"]
    page.write_text(page.read_text(encoding="utf-8").replace(GENERATOR, ""), encoding="utf-8")
    save(predict(head_volume), tmp_path, report=False)
    assert not page.exists()


def test_after_a_fault_in_drawing_no_older_picture_stays(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    save(predict(head_volume), tmp_path)
    before = (tmp_path / "report.html").read_bytes()
    (tmp_path / "head_report.html").unlink()
    (tmp_path / "head_report.html").mkdir()  # the page cannot take its place, the picture can
    paths = save(predict(head_volume, bias=-3.0), tmp_path)
    assert set(paths) == {"evidence", "overlay", "report", "json", "csv"}
    assert paths["report"].read_bytes() != before
    assert b"head_report.html" not in paths["report"].read_bytes()
    (tmp_path / "head_overlay.png").unlink()
    (tmp_path / "head_overlay.png").mkdir()
    (tmp_path / "head_report.html").rmdir()
    (tmp_path / "head_report.html").write_text(GENERATOR)
    assert "overlay" not in save(predict(head_volume), tmp_path)
    assert not (tmp_path / "head_report.html").exists()
    assert [one["code"] for one in read_json(tmp_path)[0]["warnings"]] == ["report_failed"]


def test_a_failed_result_leaves_no_map_of_before(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    names = {f"head_{ending}" for ending in ("evidence.nii.gz", "overlay.png", "report.html")}
    save(predict(head_volume), tmp_path)
    gone, damaged = (VolumeError(code, f"head.nii.gz: {code}") for code in ("not_found", "truncated_file"))
    with ResultWriter(tmp_path) as writer:
        writer.add_error("scans/head.nii.gz", gone)  # a drive that is away takes nothing with it
    assert names < {path.name for path in tmp_path.iterdir()}
    with ResultWriter(tmp_path) as writer:
        writer.add_error("scans/head.nii.gz", damaged)
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.json", "predictions.csv"}
    with ResultWriter(tmp_path, report=True) as writer:
        writer.add(predict(head_volume))
        writer.add_error("elsewhere/head.nii.gz", damaged)
    assert names < {path.name for path in tmp_path.iterdir()}


def test_an_input_among_the_results_is_never_removed(predict: Predict, picture: Volume, tmp_path: Path) -> None:
    scan = tmp_path / "head_overlay.png"
    scan.write_bytes(b"the only copy")
    save(predict(replace(picture, source=str(scan))), tmp_path, name="head", report=False)
    assert scan.read_bytes() == b"the only copy"


def test_a_foreign_error_in_drawing_is_not_quoted(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    """Its text may quote a header, and so a patient."""

    class Odd(Volume):
        @property
        def axis_codes(self) -> str:
            raise LookupError("PatientName Doe^John")

    fields = {name: getattr(head_volume, name) for name in head_volume.__dataclass_fields__}
    with ResultWriter(tmp_path, report=True) as writer:
        writer.add(replace(predict(head_volume), volume=Odd(**fields)))
    (record,) = read_json(tmp_path)
    (warning,) = record["warnings"]
    assert (warning["code"], record["error"]) == ("report_failed", None)
    assert "(LookupError)" in warning["message"]
    assert "Doe" not in (tmp_path / "predictions.json").read_text(encoding="utf-8")


def test_evidence_that_cannot_be_written_is_an_error(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "head_evidence.nii.gz").mkdir()
    with ResultWriter(tmp_path, report=True) as writer:
        assert writer.add(predict(head_volume)) == {}
        assert writer.failed == 1
    (record,) = read_json(tmp_path)
    assert record["error"]["code"] == "unwritable"
    assert record["probabilities"]
    assert record["evidence"]["path"] is None
    with pytest.raises(MedAttnError, match="head_evidence") as caught:
        save(predict(head_volume), tmp_path)
    assert caught.value.code == "unwritable"
    assert leftovers(tmp_path) == []


def test_tables_survive_an_exception_in_the_batch(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    def batch() -> None:
        with ResultWriter(tmp_path) as writer:
            writer.add(predict(head_volume))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch()
    assert len(read_json(tmp_path)) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(VolumeError) as caught:
            ResultWriter(tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)
    assert caught.value.code == "unwritable"


def test_thousands_of_rows_do_not_rewrite_the_tables_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which an input takes 1 ms, and each of the two tables 0.1 ms a row, whatever the machine does."""
    now, kept, write_text = 0.0, [], files.write_text

    def write(path: Path, text: str) -> Path:
        nonlocal now
        now += 1e-4 * len(writer.records)
        kept.append(len(writer.records))
        return write_text(path, text)

    monkeypatch.setattr("medattn_core.outputs.writer.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(files, "write_text", write)
    with ResultWriter(tmp_path) as writer:
        for number in range(3000):
            now += 1e-3
            writer.add_error(f"{number}.nii", VolumeError("empty_file", f"{number}.nii: has no bytes"))
    rewritten = kept[::2]
    assert rewritten == kept[1::2], "both tables hold the same rows"
    # From 100 rows on a rewrite takes 20 ms or more, and the next one waits for twenty times as long.
    assert rewritten[:100] == [*range(1, 101)]
    assert rewritten[100:] == [501, 2506, 3000]
    assert len(read_json(tmp_path)) == 3000


def test_names_and_pages_hold_nothing_of_a_dicom_header(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    series = volumes.Series(series_instance_uid="1.2.3", modality="MR", slices=12)
    volume = replace(head_volume, source="study/series_b", format="dicom", series=series)
    save(predict(volume), tmp_path)
    assert (tmp_path / "series_b_evidence.nii.gz").is_file()
    assert read_json(tmp_path)[0]["series_instance_uid"] == "1.2.3"


def test_a_report_without_pillow_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)  # what an installation without the extra looks like to import
    with pytest.raises(MedAttnError, match=r"medattn\[report\]") as caught:
        ResultWriter(tmp_path / "out", report=True)
    assert caught.value.code == "missing_dependency"
    ResultWriter(tmp_path / "out").close()
    assert read_json(tmp_path / "out") == []


def test_rows_are_added_to_a_table_that_lies_there(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    """By another process: the first has ended."""
    with ResultWriter(tmp_path, report=True) as first:
        first.add(predict(head_volume))
        first.add_error("gone.nii", MedAttnError("not_found", "gone.nii: is not there"))
    before = (tmp_path / "head_evidence.nii.gz").read_bytes()
    with ResultWriter(tmp_path, report=True, add=True) as second:
        paths = second.add(predict(head_volume))
    assert paths["evidence"].name == "head_2_evidence.nii.gz"
    assert (tmp_path / "head_evidence.nii.gz").read_bytes() == before
    assert [one["input"] for one in read_json(tmp_path)] == ["scans/head.nii.gz", "gone.nii", "scans/head.nii.gz"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f'href="{name}_report.html"' in page for name in ("head", "head_2"))


@pytest.mark.parametrize("content", [
    *("{}[", "[1]", "{}", '""', '{"a": 1}', '[{"input": "a"}]', '[{"evidence": null, "error": null}]'),
    '[{"input": "a", "error": null, "evidence": {"path": 5}}]',
])  # fmt: skip
def test_no_rows_are_added_to_something_else(tmp_path: Path, content: str) -> None:
    table = tmp_path / "predictions.json"
    table.write_text(content, encoding="utf-8")
    with pytest.raises(MedAttnError, match="no table of results that rows can be added to"):
        ResultWriter(tmp_path, add=True)
    assert table.read_text(encoding="utf-8") == content


def test_the_scan_is_not_written_over(predict: Predict, head_volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "q_evidence.nii.gz"
    volumes.write(head_volume, path)
    before = path.read_bytes()
    with pytest.raises(MedAttnError, match="it is the scan itself") as raised:
        save(predict(volumes.read(path)), tmp_path, name="q")
    assert raised.value.code == "bad_argument"
    assert path.read_bytes() == before

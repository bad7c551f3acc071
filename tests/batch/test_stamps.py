"""Whether an input is that of the last run: files, folders, headers with their voxels in another file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medattn_core import volumes
from medattn_core.batch.journal import NAME
from medattn_core.batch.stamps import stamp
from tests.batch.checks import records, run


@pytest.fixture(params=["scan.mhd", "scan.nhdr"])
def detached(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A header and the file that holds its voxels."""
    folder = tmp_path / "in"
    folder.mkdir()
    voxels = np.random.default_rng(0).integers(0, 900, (2, 60, 60)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((4.0, 4.0, 5.0))
    header = folder / request.param
    SimpleITK.WriteImage(image, str(header))
    (data,) = (path for path in folder.iterdir() if path != header)
    return header, data


def turned(data: Path) -> None:
    """Other voxels in as many bytes."""
    data.write_bytes(data.read_bytes()[::-1])
    os.utime(data, ns=(1, 1))


def test_other_voxels_behind_the_same_header_are_another_scan(
    tiny: Path, detached: tuple[Path, Path], tmp_path: Path
) -> None:
    header, data = detached
    output = tmp_path / "out"
    run([header], output, tiny)
    assert run([header], output, tiny).taken_over == 1
    before = records(output)[0]["logits"]
    turned(data)
    assert run([header], output, tiny).taken_over == 0
    assert records(output)[0]["logits"] != before


def test_other_voxels_behind_the_header_of_a_mask(
    tiny: Path, scans: list[Path], detached: tuple[Path, Path], tmp_path: Path
) -> None:
    header, data = detached
    scan = volumes.read(header)
    path, output = tmp_path / "scan.nii.gz", tmp_path / "out"
    volumes.write(scan, path)
    run([path], output, tiny, mask=header)
    assert run([path], output, tiny, mask=header).taken_over == 1
    turned(data)
    assert run([path], output, tiny, mask=header).taken_over == 0


def test_a_header_typed_in_two_ways_is_one(detached: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    header, data = detached
    monkeypatch.chdir(header.parent)
    assert stamp(header) == stamp(Path(header.name))
    assert stamp(header)[0] == header.stat().st_size + data.stat().st_size
    data.unlink()
    assert stamp(header) == (header.stat().st_size, header.stat().st_mtime_ns)  # the reader says what is missing


def test_two_slices_that_change_places_are_another_series(tmp_path: Path) -> None:
    """Bytes in all and the latest change stay what they were."""
    folder = tmp_path / "series"
    (folder / "a").mkdir(parents=True)
    for number, name in enumerate(("a/1.dcm", "2.dcm")):
        (folder / name).write_bytes(b"x" * number)
        os.utime(folder / name, ns=(number, number))
    before = stamp(folder)
    assert stamp(folder / "a" / "..") == before
    (folder / "a/1.dcm").rename(folder / "kept")
    (folder / "2.dcm").rename(folder / "a/1.dcm")
    (folder / "kept").rename(folder / "2.dcm")
    assert stamp(folder) != before
    assert stamp(folder)[0] == before[0]


def test_a_link_that_leads_nowhere_hides_no_change(tmp_path: Path) -> None:
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "1.dcm").write_bytes(b"one")
    before = stamp(tmp_path)
    (tmp_path / "1.dcm").write_bytes(b"other")
    assert stamp(tmp_path) != before
    assert stamp(tmp_path / "absent") == (-1, -1)


@pytest.mark.parametrize("place", ["results", "."], ids=["inside", "beside"])
def test_results_within_a_dicom_folder_are_no_part_of_it(
    tiny: Path, sample_data: Path, tmp_path: Path, place: str
) -> None:
    pytest.importorskip("PIL")
    folder = tmp_path / "dicom"
    shutil.copytree(sample_data / "brain1_dicom", folder)
    output = folder / place
    assert run([folder], output, tiny, report=True).taken_over == 0
    assert run([folder], output, tiny, report=True).taken_over == 1
    # What else lies there is part of it, and what is named as a result elsewhere.
    for new in (output / "IM9", folder / "other" / "scan_evidence.nii.gz"):
        new.parent.mkdir(exist_ok=True)
        new.write_bytes(b"words")
        for taken_over in (0, 1):
            assert run([folder], output, tiny, report=True).taken_over == taken_over


def test_a_dicomdir_with_results_beside_it(tmp_path: Path) -> None:
    output = tmp_path / "results"
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    (tmp_path / "IM1").write_bytes(b"one")
    before = stamp(tmp_path / "DICOMDIR", output=output)
    output.mkdir()
    for name in (NAME, ".predictions.lock", "predictions.csv", "report.html", "IM1_evidence.nii.gz"):
        (output / name).write_bytes(b"x")
    assert stamp(tmp_path / "DICOMDIR", output=output) == before
    assert stamp(tmp_path / "DICOMDIR", output=tmp_path / "elsewhere") != before
    (tmp_path / "link").symlink_to(output)
    assert stamp(tmp_path / "DICOMDIR", output=tmp_path / "link") == stamp(tmp_path / "DICOMDIR", output=output)


def test_a_dicomdir_stands_for_what_lies_around_it(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    (tmp_path / "IM1").write_bytes(b"one")
    before = stamp(tmp_path / "DICOMDIR")
    (tmp_path / "IM1").write_bytes(b"other")
    assert stamp(tmp_path / "DICOMDIR") != before

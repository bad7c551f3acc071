"""No name that the user did not type is in any file of a result."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medattn_core import volumes
from medattn_core.errors import VolumeError
from medattn_core.outputs import ResultWriter

if TYPE_CHECKING:
    from tests.outputs.conftest import Predict

pytest.importorskip("PIL")
pydicom = pytest.importorskip("pydicom")

PATIENT = "MUSTERMANN^ERIKA"


@pytest.fixture(params=["folder", "zip"])
def export(request: pytest.FixtureRequest, sample_data: Path, tmp_path: Path) -> Path:
    """Five slices and two odd files, in folders named after the patient."""
    inner = tmp_path / "export" / PATIENT / "1970 ERIKA_MUSTERMANN"
    inner.mkdir(parents=True)
    for number in range(10, 15):
        dataset = pydicom.dcmread(sample_data / "brain1_dicom" / f"IM{number:04d}.dcm")
        dataset.PatientName, dataset.StudyDescription = PATIENT, f"for {PATIENT}"
        dataset.save_as(inner / f"IM{number:04d}.dcm")
    shutil.copy(inner / "IM0012.dcm", inner / "IM0099.dcm")
    (inner / "stray.dcm").write_text("words")
    if request.param == "folder":
        return tmp_path / "export"
    return Path(shutil.make_archive(str(tmp_path / "scan"), "zip", tmp_path / "export"))


def assert_silent(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        for trace in (b"mustermann", b"erika"):
            assert trace.decode() not in path.name.lower()
            if path.suffix != ".png":  # packed pixels, no text
                assert trace not in content.lower(), path.name


def test_results_of_a_patients_export(predict: Predict, export: Path, tmp_path: Path) -> None:
    volume = volumes.read(export)
    assert [notice.code for notice in volume.warnings] == ["skipped_files", "duplicate_positions"]
    with ResultWriter(tmp_path / "out", report=True) as writer:
        writer.add(predict(volume, warnings=volume.warnings))
    (record,) = writer.records
    assert record["error"] is None
    assert record["input"] == str(export)
    assert (tmp_path / "out" / f"{export.stem}_report.html").is_file()
    assert_silent(tmp_path / "out")


def test_an_export_that_fails(export: Path, sample_data: Path, tmp_path: Path) -> None:
    inner = tmp_path / "export" / PATIENT / "1970 ERIKA_MUSTERMANN"
    (inner / "IM0011.dcm").write_bytes((inner / "IM0011.dcm").read_bytes()[:-3000])
    if export.suffix == ".zip":
        shutil.make_archive(str(export.with_suffix("")), "zip", tmp_path / "export")
    with ResultWriter(tmp_path / "out", report=True) as writer:
        with pytest.raises(VolumeError) as caught:
            volumes.read(export)
        writer.add_error(export, caught.value)
    assert caught.value.code == "truncated_file"
    assert_silent(tmp_path / "out")

"""Files that cannot be read rightly are refused with their own code, by name, and never dropped in silence."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_builder import attempt, codes, edit, edit_all, failure, files, message

from medattn_core.errors import VolumeError
from medattn_core.volumes.dicom import read_dicom


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_truncated_slice_stops_the_series(series: Path, share: float) -> None:
    """Cut in its pixels, or so early that its series, rows or class are gone."""
    path = files(series)[3]
    content = path.read_bytes()
    header = len(content) - 48 * 64 * 2
    length = int(len(content) * share) if share > 0.1 else header // 3
    path.write_bytes(content[:length])
    error = failure(series)
    assert error.code == "truncated_file"
    assert path.name in error.message
    assert failure(path).code == "truncated_file"


def test_a_truncated_header_at_every_length_is_no_crash(series: Path) -> None:
    path = files(series)[3]
    content = path.read_bytes()
    for length in range(0, len(content) - 48 * 64 * 2 + 20, 17):
        path.write_bytes(content[:length])
        error = failure(path)
        assert error.code in ("empty_file", "not_an_image", "corrupt_file", "truncated_file")
        assert path.name in error.message
        # In its folder it stops the series, or is named as left out: it never vanishes.
        whole = attempt(series)
        assert path.name in (whole.message if isinstance(whole, VolumeError) else message(whole, "skipped_files"))


def test_random_damage_is_an_error_or_a_volume_never_a_crash(series: Path) -> None:
    rng = np.random.default_rng(0)
    path = files(series)[0]
    content = path.read_bytes()
    header = len(content) - 48 * 64 * 2
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(132, header, 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        found = attempt(path)
        assert "Invented" not in f"{found} {vars(found)}"


def test_an_oversized_header_is_refused_before_allocating(series: Path) -> None:
    path = files(series)[0]
    edit(path, Rows=65535, Columns=65535)
    error = failure(path)
    assert error.code in ("truncated_file", "oversized_header")
    assert path.name in error.message


def test_truncated_and_empty_single_files(pydicom_files: Path, tmp_path: Path) -> None:
    error = failure(pydicom_files / "MR_truncated.dcm")
    assert error.code == "truncated_file"
    assert "8,130 of 8,192" in error.message
    (tmp_path / "void.dcm").write_bytes(b"")
    assert failure(tmp_path / "void.dcm").code == "empty_file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_an_unreadable_file_is_named(series: Path) -> None:
    path = files(series)[3]
    path.chmod(0)
    assert failure(path).code == "unreadable"
    volume = read_dicom(series)
    assert path.name in message(volume, "skipped_files")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("liver_1frame.dcm", "Segmentation Storage"),
        ("test-SR.dcm", "Comprehensive SR Storage"),
        ("rtdose.dcm", "RT Dose Storage"),
        ("waveform_ecg.dcm", "12-lead ECG Waveform Storage"),
    ],
)
def test_dicom_without_an_image(pydicom_files: Path, tmp_path: Path, series: Path, name: str, kind: str) -> None:
    error = failure(pydicom_files / name)
    assert error.code == "unsupported_dicom"
    assert name in error.message
    assert kind in error.message
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / name).write_bytes((pydicom_files / name).read_bytes())
    assert failure(tmp_path / "only").code == "unsupported_dicom"
    (series / name).write_bytes((pydicom_files / name).read_bytes())
    assert codes(read_dicom(series)) == []  # beside images it is no part of the scan


@pytest.mark.parametrize("name", ["examples_rgb_color.dcm", "examples_palette.dcm", "SC_rgb_rle.dcm"])
def test_colour_images_are_refused(pydicom_files: Path, name: str) -> None:
    error = failure(pydicom_files / name)
    assert error.code == "colour_image"
    assert name in error.message


@pytest.mark.parametrize(
    ("uid", "words"),
    [
        ("1.2.840.10008.1.2.4.107", "HEVC"),
        ("1.2.840.10008.1.2.4.100", "MPEG2"),
        ("1.3.6.1.4.1.99999.4.1", "1.3.6.1.4.1.99999.4.1"),
    ],
)
def test_compression_without_a_decoder(series: Path, uid: str, words: str) -> None:
    def compress(dataset: pydicom.Dataset) -> None:
        dataset.PixelData = pydicom.encaps.encapsulate([b"\x01\x02\x03\x04"])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(uid)

    path = files(series)[0]
    dataset = pydicom.dcmread(path)
    compress(dataset)
    dataset["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True)
    error = failure(series)
    assert error.code == "missing_codec"
    assert path.name in error.message
    assert words in error.message
    assert "uncompressed" in error.message


def test_a_damaged_compressed_slice_is_named(pydicom_files: Path, tmp_path: Path) -> None:
    content = bytearray((pydicom_files / "MR_small_RLE.dcm").read_bytes())
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(content[: len(content) // 2 + 400])
    error = failure(cut)
    assert error.code in ("truncated_file", "corrupt_file")
    assert "cut.dcm" in error.message


def test_damaged_jpeg_ls_does_not_end_the_process(pydicom_files: Path, tmp_path: Path) -> None:
    """GDCM, where installed, ends the process on this file: its JPEG-LS header states 202 bits instead of 16."""
    content = bytearray((pydicom_files / "MR_small_jpeg_ls_lossless.dcm").read_bytes())
    place = content.index(b"\xff\xd8\xff\xf7") + 6
    assert content[place] == 16
    content[place] = 202
    path = tmp_path / "damaged.dcm"
    path.write_bytes(content)
    script = (
        "import sys; from medattn_core.errors import VolumeError; from medattn_core.volumes.dicom import read_dicom\n"
        "try: read_dicom(sys.argv[1])\nexcept VolumeError as error: print(error.code, error.message)"
    )
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run([sys.executable, "-c", script, path], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("corrupt_file")
    assert "damaged.dcm" in run.stdout


@pytest.mark.parametrize("value", [0, 300])
def test_a_constant_series(series: Path, value: int) -> None:
    for path in files(series):
        edit(path, PixelData=np.full((48, 64), value, np.int16).tobytes())
    error = failure(series)
    assert error.code == "constant_image"
    assert str(series) in error.message


def test_packed_bits_and_lookup_tables_are_refused(series: Path) -> None:
    edit_all(series, BitsAllocated=12)
    assert failure(series).code == "unsupported_dicom"


def test_pydicom_is_silent_and_left_as_it_was(
    series: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    logger = logging.getLogger("pydicom")
    level = logger.level
    gc.collect()  # what earlier tests left open is not said here
    recwarn.clear()
    path = files(series)[0]
    content = path.read_bytes().replace(b"0.78125\\0.78125", b"0.78125\\zero,78")
    content = content.replace(b"20000101", b"2000-1-1")
    path.write_bytes(content)
    error = failure(series)
    assert error.code == "incomplete_geometry"
    assert path.name in error.message
    read_dicom(files(series)[1])
    assert capfd.readouterr() == ("", "")
    assert len(recwarn) == 0
    assert logger.level == level
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("still heard", stacklevel=1)
    assert len(caught) == 1


def test_without_pydicom_the_message_says_what_to_install(series: Path) -> None:
    script = (
        "import sys; sys.modules['pydicom'] = None\n"  # what Python itself does with a package that must not be found
        "from medattn_core.errors import VolumeError; from medattn_core.volumes.dicom import read_dicom\n"
        "try: read_dicom(sys.argv[1])\nexcept VolumeError as error: print(error.code, error.message)"
    )
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run([sys.executable, "-c", script, series], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("missing_dependency")
    assert 'pip install "medattn[dicom]"' in run.stdout

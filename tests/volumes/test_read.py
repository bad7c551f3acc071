"""The door: what is read by which reader, and every input that is none."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from medattn_core.errors import VolumeError
from medattn_core.volumes import read, write
from tests.volumes.making import codes, refused, save_mha, save_nifti, save_nrrd, volume, voxels

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.png", "a.jpg", "a.jpeg", "a.dcm", "a", "a.zip")


def contents(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "contents"
    folder.mkdir()
    pixels = SimpleITK.GetImageFromArray(voxels((40, 40), "uint8"))
    for name in ("x.png", "x.jpg"):
        SimpleITK.WriteImage(pixels, str(folder / name))
    save_nifti(folder / "x.nii", voxels())
    save_nifti(folder / "x.nii.gz", voxels())
    save_nrrd(folder / "x.nrrd", voxels())
    save_mha(folder / "x.mha", voxels())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    refused(tmp_path / name, "empty_file", "0 bytes")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Dear colleague,\nplease find attached\n", "text"),
        (b"<!DOCTYPE html><html>Please log in</html>", "web page"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3 some report", "PDF"),
        (gzip.compress(b"not a scan" * 100, mtime=0), "gzip"),
        (bytes(range(256)) * 8, "unknown"),
    ],
)
def test_not_an_image(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "not_an_image", words, ".nii.gz")


def test_wrong_extension_names_both(tmp_path: Path) -> None:
    for source, content in contents(tmp_path).items():
        kind = source.removeprefix("x").removesuffix(".gz")
        family = {".nii": "NIfTI", ".nrrd": "NRRD", ".mha": "MetaImage", ".png": "PNG", ".jpg": "JPEG"}
        for suffix, said in {**family, ".dcm": "DICOM", ".zip": "zip"}.items():
            path = tmp_path / f"scan{suffix}"
            path.write_bytes(content)
            if suffix == kind:
                read(path)
            else:
                refused(path, "wrong_extension", f"named as {said}", family[kind], f"rename it to end in {kind}")


def test_a_name_that_says_nothing_is_read_by_content(tmp_path: Path) -> None:
    for number, (source, content) in enumerate(contents(tmp_path).items()):
        for name in (f"scan{number}", f"scan{number}.dat"):
            (tmp_path / name).write_bytes(content)
            assert read(tmp_path / name).data.size > 0, source


def test_suffix_in_capitals_and_names_of_all_alphabets(tmp_path: Path) -> None:
    folder = tmp_path / "Größe 医学 изображение"
    folder.mkdir()
    for source, content in contents(tmp_path).items():
        path = folder / f"Läsion é 図{source[1:].upper()}"
        path.write_bytes(content)
        result = read(str(path))
        assert result.source == str(path)


def test_not_found(tmp_path: Path) -> None:
    refused(tmp_path / "gone.nii", "not_found", "spelling")
    refused(tmp_path / "nowhere" / "gone.nii", "not_found")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file" / "gone.nii", "not_found")
    (tmp_path / "link.nii").symlink_to(tmp_path / "gone.nii")
    refused(tmp_path / "link.nii", "not_found")
    with pytest.raises(VolumeError, match="not a possible file name"):
        read("a\0b.nii")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "not_an_image", "regular file")


def test_permission(tmp_path: Path) -> None:
    """A real refusal by the system: as root, which may read everything, in a process that gave root up."""
    if os.name != "posix":
        pytest.skip("permissions are set another way here")
    path = save_nifti(tmp_path / "a.nii.gz", voxels())
    folder = tmp_path / "closed"
    folder.mkdir()
    save_nifti(folder / "b.nii", voxels())
    path.chmod(0)
    folder.chmod(0)
    code = (
        "import os, sys\n"
        "from medattn_core.volumes import read\n"
        "from medattn_core.errors import VolumeError\n"
        "import SimpleITK, nibabel, medattn_core.volumes.containers, medattn_core.volumes.dicom\n"
        "os.chdir(sys.argv[1])\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for name in ('a.nii.gz', 'closed', 'closed/b.nii'):\n"
        "    try: print(name, 'was read', read(name).shape)\n"
        "    except VolumeError as error: print(error.code, '|', error)\n"
    )
    tmp_path.chmod(0o755)
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=100, check=False
    )
    folder.chmod(0o755)
    lines = result.stdout.splitlines()
    assert len(lines) == 3, result.stderr
    for line, name in zip(lines, ("a.nii.gz", "closed", "closed/b.nii"), strict=True):
        assert line.startswith(f"unreadable | {name}: no permission"), line


def test_values(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nrrd"):
        save = save_nifti if name.endswith("gz") else save_nrrd
        data = voxels((20, 20, 20), "float32")
        data[3, 4, 5], data[0, 0, 0] = np.nan, np.inf
        result = read(save(tmp_path / name, data))
        assert codes(result)[-1] == "non_finite_replaced"
        assert "2 NaN or infinite voxels" in result.warnings[-1].message
        assert result.data[3, 4, 5] == result.data[0, 0, 0] == np.nanmin(data) == 1
        np.testing.assert_array_equal(result.data[1:3], data[1:3])
        data[:1, :2] = -np.inf
        refused(save(tmp_path / name, data), "non_finite_voxels", "0.5%")
        refused(save(tmp_path / name, np.full((4, 4, 4), np.nan, np.float32)), "non_finite_voxels")
        flat = save(tmp_path / name, np.full((4, 4, 4), 3, np.int16))
        refused(flat, "constant_image", "value 3")
        assert read(flat, allow_constant=True).data.max() == 3


def test_series_is_a_question_to_dicom(tmp_path: Path) -> None:
    refused(save_nifti(tmp_path / "a.nii", voxels()), "no_such_series", "NIfTI", series="1.2.3")


# --- folders and archives


def test_folder_with_one_image(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "scan.json").write_text("{}")
    (tmp_path / ".hidden.nii").write_text("x")
    save_nifti(tmp_path / "deep" / "er" / "scan.nii.gz", voxels())
    result = read(tmp_path)
    np.testing.assert_array_equal(result.data, voxels())
    assert result.source == str(tmp_path)
    save_nrrd(tmp_path / "deep" / "other.nrrd", voxels())
    refused(tmp_path, "several_images", "2 images", "other.nrrd", "scan.nii.gz", "name the one")


def test_folder_without_images(tmp_path: Path) -> None:
    refused(tmp_path, "no_images", "empty")
    (tmp_path / "notes.txt").write_text("nothing here")
    refused(tmp_path, "no_images")


def test_zip_with_one_image(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(save_nifti(tmp_path / "scan.nii.gz", voxels()), "brain/scan.nii.gz")
        archive.writestr("__MACOSX/scan.nii.gz", b"junk")
        archive.writestr("readme.txt", b"a scan")
    result = read(tmp_path / "a.zip")
    np.testing.assert_array_equal(result.data, voxels())
    assert result.source == str(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        (tmp_path / "c.raw").write_bytes(voxels().tobytes(order="F"))
        archive.write(save_nrrd(tmp_path / "c.nhdr", voxels(), "data file: c.raw", payload=b""), "x/c.nhdr")
        archive.write(tmp_path / "c.raw", "x/c.raw")
    np.testing.assert_array_equal(read(tmp_path / "b.zip").data, voxels())
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.write(tmp_path / "scan.nii.gz", "two.nii.gz")
    refused(tmp_path / "a.zip", "several_images", "(entry 1, entry 4)", "unpack it and name the one")


def test_zip_that_is_broken_or_empty(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(save_nifti(tmp_path / "scan.nii", voxels((20, 20, 20))), "scan.nii")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "a.zip", "corrupt_file", "zip")
    (tmp_path / "a.zip").write_bytes(content[:2000] + b"xxxx" + content[2004:])
    refused(tmp_path / "a.zip", "corrupt_file", "zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w"):
        pass
    refused(tmp_path / "b.zip", "no_images", "empty")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("scan.nii", b"Dear colleague")
    refused(tmp_path / "c.zip", "not_an_image", "c.zip (entry 1)", "not a NIfTI file")


def test_zip_that_is_unsafe(tmp_path: Path) -> None:
    scan = save_nifti(tmp_path / "scan.nii", voxels())
    for number, entry in enumerate(("../../etc/scan.nii", "/etc/scan.nii")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.write(scan, "scan.nii")
            archive.filelist[0].filename = entry
        refused(tmp_path / f"{number}.zip", "unsafe_archive", "out of the archive")
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.write(scan, "scan.nii")
    content = bytearray((tmp_path / "locked.zip").read_bytes())
    content[6] |= 1  # the bit that says encrypted, in the entry and in the directory
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    refused(tmp_path / "locked.zip", "unsafe_archive", "password")


def test_dicom_wins_in_a_mixed_folder(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "messy_ct_dicom" / "dcm_qa_ct_subset.zip") as archive:
        for member in archive.infolist()[:12]:
            archive.extract(member, tmp_path)
    save_nifti(tmp_path / "scan.nii.gz", voxels())
    assert read(tmp_path).format == "dicom"


# --- the room as a whole


def test_nothing_is_printed(tmp_path: Path, sample_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read(sample_data / "brain1_image.nrrd")
    for path in (tmp_path / "contents" / name for name in contents(tmp_path)):
        read(path)
    odd = nib.Nifti1Image(voxels(), np.diag([1, 1, 1, 1.0]))
    odd.header["pixdim"][0] = 5
    nib.save(odd, tmp_path / "odd.nii.gz")
    read(tmp_path / "odd.nii.gz")
    write(volume(), tmp_path / "out.nii.gz")
    assert capfd.readouterr() == ("", "")


def test_import_is_quick_and_light() -> None:
    code = (
        "import numpy, time, sys; start = time.process_time(); import medattn_core.volumes\n"
        "heavy = ('SimpleITK', 'nibabel', 'pydicom', 'torch')\n"
        "print(time.process_time() - start, [m for m in heavy if m in sys.modules])"
    )
    runs = []
    for _ in range(3):
        output = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        seconds, _, loaded = output.strip().partition(" ")
        assert loaded == "[]"
        runs.append(float(seconds))
    assert min(runs) < 0.1


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize("name", [b"caf\xe9.nrrd", b"caf\xe9.nii.gz"])
def test_a_name_that_is_no_text_is_refused_and_not_the_end_of_the_process(sample_data, tmp_path, name):
    path = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(path)).write_bytes((sample_data / "brain1_image.nrrd").read_bytes())
    with pytest.raises(VolumeError, match=r"caf\?\.n.*is not UTF-8; rename it") as caught:
        read(os.fsdecode(path))
    assert caught.value.code == "unreadable"
    caught.value.message.encode("utf-8")  # can be printed


def test_numbers_that_are_infinite_in_32_bits(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Models compute in 32 bits: such a scan would be refused later, after NumPy had muttered on the terminal."""
    data = np.random.default_rng(0).uniform(1, 9, (20, 20, 20))
    path = save_nifti(tmp_path / "a.nii", data * 1e300)
    refused(path, "non_finite_voxels", "enormous (beyond 3.4e+38)")
    data[3, 4, 5] = np.finfo(np.float64).max  # some write it where there is nothing
    result = read(save_nifti(tmp_path / "b.nii", data))
    assert codes(result) == ["non_finite_replaced"]
    assert "1 NaN, infinite or enormous (beyond 3.4e+38) voxels" in result.warnings[0].message
    assert result.data.max() < 9
    assert not recwarn.list


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an unset variable, or an empty cell of a table; the scan in the folder would be a plausible answer."""
    monkeypatch.chdir(tmp_path)
    refused("", "bad_argument", "the path of an image is empty")

"""Pictures: .png and .jpg."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medattn_core.errors import VolumeError
from medattn_core.volumes import read
from tests.volumes.making import LPS_IDENTITY, codes, refused, voxels


def picture(path: Path, pixels: np.ndarray) -> Path:
    """``(rows, columns[, channels])`` as a picture."""
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))
    return path


def smooth(rows: int = 48, columns: int = 64) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (127 + 100 * np.sin(y / 9) * np.cos(x / 7)).astype(np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png(tmp_path: Path, dtype: str) -> None:
    pixels = voxels((4, 6), dtype)
    result = read(picture(tmp_path / "a.png", pixels))
    assert (result.shape, result.format, result.spatial_dims, result.spacing_known) == ((6, 4, 1), "png", 2, False)
    np.testing.assert_array_equal(result.data[:, :, 0], pixels.T)
    np.testing.assert_array_equal(result.affine, LPS_IDENTITY)
    assert result.data.dtype == dtype
    assert codes(result) == []


def test_jpeg(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.jpeg", "b.JPG"):
        result = read(picture(tmp_path / name, smooth()))
        assert (result.shape, result.format, result.spatial_dims) == ((64, 48, 1), "jpeg", 2)
        np.testing.assert_allclose(result.data[:, :, 0].astype(float), smooth().T, atol=6)


def held(path: Path, orientation: int, order: str = "<") -> Path:
    """The picture that ``path`` was, saying how it was held."""
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    entries = struct.pack(f"{order}HHIHHHHIHH", 0x0100, 3, 1, 7, 0, 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\x00\x00" + mark + struct.pack(f"{order}IH", 8, 2) + entries + bytes(4)
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:])
    return path


@pytest.mark.parametrize("order", "<>")
def test_a_jpeg_is_turned_as_viewers_show_it(tmp_path: Path, order: str) -> None:
    from PIL import Image, ImageOps

    pixels = smooth() // 2 + np.arange(64, dtype=np.uint8)  # no two of its eight views are alike
    stored = read(picture(tmp_path / "a.jpg", pixels)).data[:, :, 0].T
    for orientation in range(10):  # 0 and 9 are none
        path = held(picture(tmp_path / "b.jpg", pixels), orientation, order)
        result = read(path)
        with Image.open(path) as opened:
            shown = np.asarray(ImageOps.exif_transpose(opened))
        np.testing.assert_allclose(result.data[:, :, 0].T.astype(float), shown.astype(float), atol=2)
        np.testing.assert_array_equal(np.sort(result.data, axis=None), np.sort(stored, axis=None))
        np.testing.assert_array_equal(result.affine, LPS_IDENTITY)
        assert result.shape == ((48, 64, 1) if 5 <= orientation <= 8 else (64, 48, 1))
        assert codes(result) == (["turned"] if 2 <= orientation <= 8 else [])


@pytest.mark.parametrize("keep", [4, 12, 20, 30])
def test_an_exif_block_that_is_cut_off_turns_nothing(tmp_path: Path, keep: int) -> None:
    path = picture(tmp_path / "a.jpg", smooth())
    plain = path.read_bytes()
    exif = held(path, 6).read_bytes()[6 : 6 + 6 + keep]
    path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
    assert read(path).shape == (64, 48, 1)


def test_real_slices(shared_data: Path) -> None:
    for path in sorted((shared_data / "brain_tumor_t1ce" / "images").glob("*.jpg"))[:3]:
        result = read(path)
        assert (result.shape, result.data.dtype, codes(result)) == ((512, 512, 1), np.uint8, [])


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_grey_in_colour_channels(tmp_path: Path, name: str) -> None:
    result = read(picture(tmp_path / name, np.repeat(smooth()[..., None], 3, axis=-1)))
    assert codes(result) == ["grey_in_rgb"]
    np.testing.assert_allclose(result.data[:, :, 0].astype(float), smooth().T, atol=6)
    coloured = np.stack([smooth(), smooth() // 2, smooth()], axis=-1)
    refused(picture(tmp_path / name, coloured), "colour_image", "colour map")


def test_png_with_transparency(tmp_path: Path) -> None:
    grey = np.repeat(smooth()[..., None], 4, axis=-1)
    grey[..., 3] = 255
    result = read(picture(tmp_path / "a.png", grey))
    assert codes(result) == ["grey_in_rgb"]
    np.testing.assert_array_equal(result.data[:, :, 0], smooth().T)
    grey[0, 0, 3] = 0
    refused(picture(tmp_path / "b.png", grey), "colour_image", "transparency")
    from PIL import Image

    Image.fromarray(smooth()).convert("LA").save(tmp_path / "la.png")
    Image.fromarray(smooth()).save(tmp_path / "marked.png", transparency=0)
    for name in ("la.png", "marked.png"):  # whole files, which are not called damaged
        refused(tmp_path / name, "unsupported_storage", "grey picture with transparency; save it without")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_truncated(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = picture(tmp_path / name, smooth(200, 200)).read_bytes()
    for kept in (12, 40, len(content) // 2, len(content) - 2):
        (tmp_path / name).write_bytes(content[:kept])
        refused(tmp_path / name, "truncated_file", "cut off", "again")
    assert capfd.readouterr() == ("", "")


def test_damage_is_noticed_and_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = picture(tmp_path / "a.png", smooth(200, 200))
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    refused(path, "corrupt_file", "checksum")
    path = picture(tmp_path / "a.jpg", voxels((200, 200), "uint8"))
    content = path.read_bytes()
    frame = content.index(b"\xff\xda")
    path.write_bytes(content[: frame + 4000] + b"\xff\xd3" + content[frame + 4002 :])
    refused(path, "corrupt_file", "decoded")
    path.write_bytes(content[: frame + 5] + b"\7\7\7\7\7" + content[frame + 10 :])
    refused(path, "corrupt_file")
    assert capfd.readouterr() == ("", "")


def test_constant(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        refused(picture(tmp_path / name, np.full((9, 9), 7, np.uint8)), "constant_image", "value 7")


def test_promises_too_large(tmp_path: Path) -> None:
    def block(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = block(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    data = block(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + block(b"IEND", b""))
    refused(tmp_path / "a.png", "oversized_header", "60000 x 60000")


def test_what_other_code_prints_is_not_lost(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    print("before", flush=True)
    read(picture(tmp_path / "a.jpg", smooth()))
    print("after", flush=True)
    assert capfd.readouterr().out == "before\nafter\n"


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_what_other_threads_print_meanwhile_is_theirs(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Pictures are read in lanes beside a command that shows its progress: none is damaged, no line is lost."""
    path = picture(tmp_path / f"a.{kind}", smooth())
    stop, printed = threading.Event(), [0]

    def show() -> None:
        while not stop.is_set():
            printed[0] += 1
            os.write(1, f"[{printed[0]}] scans\n".encode())
            os.write(2, f"warning {printed[0]}\n".encode())

    thread = threading.Thread(target=show)
    thread.start()
    try:
        for _ in range(40):
            read(path)
    finally:
        stop.set()
        thread.join()
    shown = capfd.readouterr()
    assert sorted(shown.out.splitlines()) == sorted(f"[{n + 1}] scans" for n in range(printed[0]))
    assert len(shown.err.splitlines()) == printed[0]


def test_damage_is_noticed_beside_threads_that_print(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(picture(tmp_path / "a.jpg", smooth()).read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 40] = bytes(range(40))
    (tmp_path / "a.jpg").write_bytes(content)
    stop = threading.Event()

    def show() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            os.write(2, f"warning {number}\n".encode())

    thread = threading.Thread(target=show)
    thread.start()
    try:
        for _ in range(10):
            with pytest.raises(VolumeError) as caught:
                read(tmp_path / "a.jpg")
            assert caught.value.code == "corrupt_file"
            assert "warning" not in caught.value.message
    finally:
        stop.set()
        thread.join()
    assert "orrupt JPEG" not in capfd.readouterr().err


@pytest.mark.parametrize(("dtype", "bits"), [("uint8", 5), ("uint16", 12)])
def test_a_png_that_says_which_bits_count_is_read_as_stored(tmp_path: Path, dtype: str, bits: int) -> None:
    """ITK shifts the values down by the others."""
    pixels = voxels((20, 30), dtype) * 2 + 1
    path = picture(tmp_path / "a.png", pixels)
    chunk = b"sBIT" + bytes([bits])
    content = path.read_bytes()
    path.write_bytes(content[:33] + b"\0\0\0\1" + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:])
    result = read(path)
    np.testing.assert_array_equal(result.data[:, :, 0], pixels.T)
    assert (result.source, result.data.dtype, codes(result)) == (str(path), dtype, [])

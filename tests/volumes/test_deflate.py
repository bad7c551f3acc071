"""Gzip in pieces: one member that any reader takes."""

from __future__ import annotations

import gzip
import io
import subprocess
import zlib
from shutil import which

import numpy as np
import pytest

from medattn_core.volumes import deflate


def packed(parts, **options) -> bytes:
    file = io.BytesIO()
    deflate.pack(file, parts, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [0, 1, deflate.PIECE - 1, deflate.PIECE, 3 * deflate.PIECE + 5])
def test_any_length_comes_back(size):
    content = np.random.default_rng(0).integers(0, 20, size, np.uint8).tobytes()
    found = packed([b"head", *deflate.pieces(memoryview(content))])
    assert gzip.decompress(found) == b"head" + content
    stream = zlib.decompressobj(31)
    assert stream.decompress(found) == b"head" + content
    assert stream.eof  # one member, complete, nothing behind it
    assert stream.unused_data == b""


def test_parts_keep_their_order_although_made_side_by_side():
    parts = [(lambda n=n: memoryview(bytes([n % 256]) * (1000 * (n % 7) + 1))) for n in range(100)]
    assert gzip.decompress(packed(parts)) == b"".join(bytes(part()) for part in parts)


def test_what_does_not_shrink_is_stored_and_what_does_is_packed():
    noise = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8).tobytes()
    zeros = bytes(1 << 20)
    found = packed([noise, zeros], strategy=zlib.Z_RLE, try_first=True)
    assert gzip.decompress(found) == noise + zeros
    assert len(noise) <= len(found) <= 1.01 * len(noise)
    assert noise[1000:2000] in found  # stored as it is
    assert noise[1000:2000] not in packed([np.random.default_rng(1).integers(0, 9, 1 << 20, np.uint8).tobytes()])


def test_the_command_gzip_agrees(tmp_path):
    if which("gzip") is None:
        pytest.skip("no gzip here")
    path = tmp_path / "a.gz"
    path.write_bytes(packed([b"abc" * 1000, b"", b"def"]))
    subprocess.run(["gzip", "-t", str(path)], check=True)


def test_an_error_in_a_part_is_not_swallowed():
    def broken() -> memoryview:
        raise MemoryError

    with pytest.raises(MemoryError):
        packed([b"a", broken])

"""Gzip by either way, for small files and for large ones: the same bytes or the same error."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest

from medattn_core.errors import VolumeError
from medattn_core.volumes import payload

SHAPE = (24, 20, 16)


@pytest.fixture(params=["small", "large"])
def packed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, bytes]:
    """A gzip file that is unpacked in either way, and its content."""
    content = np.random.default_rng(0).integers(0, 90, SHAPE).astype("<i2").tobytes()
    monkeypatch.setattr(payload, "_SMALL", len(content) if request.param == "small" else 0)
    path = tmp_path / "voxels.gz"
    path.write_bytes(gzip.compress(b"head" + content))
    return path, content


def unpack(path: Path, content: bytes) -> bytes:
    return payload.read_gzip(path, 0, 4, SHAPE, len(content), "scan").tobytes()


def test_whole(packed: tuple[Path, bytes]) -> None:
    assert unpack(*packed) == packed[1]


def test_cut_off(packed: tuple[Path, bytes]) -> None:
    path, content = packed
    whole = path.read_bytes()
    for kept in (len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:kept])
        with pytest.raises(VolumeError) as raised:
            unpack(path, content)
        assert raised.value.code == "truncated_file"


def test_another_checksum(packed: tuple[Path, bytes]) -> None:
    path, content = packed
    whole = bytearray(path.read_bytes())
    whole[-8:-4] = (zlib.crc32(b"another") & 0xFFFFFFFF).to_bytes(4, "little")
    path.write_bytes(bytes(whole))
    with pytest.raises(VolumeError) as raised:
        unpack(path, content)
    assert raised.value.code == "corrupt_file"


def test_too_short_for_its_header(packed: tuple[Path, bytes]) -> None:
    path, content = packed
    path.write_bytes(gzip.compress(b"head" + content[:-2]))
    with pytest.raises(VolumeError) as raised:
        unpack(path, content)
    assert raised.value.code == "truncated_file"

"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from medattn_core.files import replacing, sync_folder


def test_a_file_has_its_name_only_when_it_is_whole_and_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    before: list[tuple[str, int]] = []
    fsync = os.fsync

    def noted(number: int) -> None:
        before.append((path.read_text(), os.fstat(number).st_size))
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    with replacing(path) as temporary:
        temporary.write_text("newer")
        assert temporary.parent == tmp_path
        assert path.read_text() == "old"
    assert before == [("old", 5)]
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_on_the_disk_with_all_that_lies_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text("x")
    (tmp_path / "d.txt").write_text("x")
    synced: list[int] = []
    fsync = os.fsync

    def noted(number: int) -> None:
        synced.append(os.fstat(number).st_ino)
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    sync_folder(tmp_path)
    all_of_it = [tmp_path, *tmp_path.rglob("*")]
    assert sorted(synced) == sorted(p.stat().st_ino for p in all_of_it if p.is_file() or os.name != "nt")


@pytest.mark.parametrize("ends", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, ends: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path, temporary=".a.txt.7") as temporary:
            assert temporary == tmp_path / ".a.txt.7"
            temporary.write_text("half")
            raise ends

    with pytest.raises(ends):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_disk_refuses_is_raised_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def write(path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text("x")

    for folder in ("gone", "file"):
        with pytest.raises(OSError, match=folder):
            write(tmp_path / folder / "a.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write(tmp_path / "folder")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(("number", "written"), [(errno.EINVAL, True), (errno.ENOSYS, True), (errno.ENOSPC, False)])
def test_a_file_system_that_cannot_be_told_to_write_now_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, written: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    def write() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")

    monkeypatch.setattr(os, "fsync", refuse)
    if written:
        write()
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            write()
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"] * written


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_has_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640

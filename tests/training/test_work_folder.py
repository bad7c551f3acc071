"""Folders of a training that are somebody's own: nothing in them is deleted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest

from medattn_core import files
from medattn_core.errors import TrainingError
from medattn_core.files import lock_file
from medattn_core.training import train
from medattn_core.training.work_folder import alone, check_work_is_own, clear_logs, clear_work
from tests.squares import SETTINGS


def put(folder: Path, *names: str) -> list[Path]:
    files = [folder / name for name in names]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"something")
    return files


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("name", ["scans/1.png", "notes.txt", "fold0/scan.png", "scans/checkpoint.pt"])
def test_a_folder_of_that_name_that_is_somebodys_own_is_refused_and_kept(tmp_path: Path, how: dict, name: str) -> None:
    mine, checkpoint = put(tmp_path / "liver.training", name, "checkpoint.pt")
    with pytest.raises(
        TrainingError, match=f"liver.training: holds files that are not of a training \\({name}\\)"
    ) as e:
        train(tmp_path / "no list.csv", tmp_path / "liver", config=SETTINGS, device="cpu", **how)  # nothing is read
    assert e.value.code == "bad_argument"
    assert "move them, or choose another name" in e.value.message
    assert mine.exists()
    assert checkpoint.exists()


def test_many_files_are_counted(tmp_path: Path) -> None:
    put(tmp_path, *[f"{i}.png" for i in range(5)])
    with pytest.raises(TrainingError, match=r"\(0\.png, 1\.png, 2\.png and 2 more\)"):
        check_work_is_own(tmp_path)


def test_what_a_killed_training_leaves_is_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "x.training"
    check_work_is_own(folder)  # not there
    put(folder, "checkpoint.pt", ".checkpoint.pt.4711", "fold0/checkpoint.pt", "fold12/.checkpoint.pt.1", ".DS_Store")
    (folder / "fold3").mkdir()
    check_work_is_own(folder)
    clear_work(folder)
    assert not folder.exists()


def test_what_came_to_lie_there_during_the_training_is_kept(tmp_path: Path) -> None:
    kept, _ = put(tmp_path / "x.training", "fold0/mine.txt", "fold0/checkpoint.pt")
    clear_work(tmp_path / "x.training")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


def test_only_curves_of_a_training_are_taken_away(tmp_path: Path) -> None:
    event = "events.out.tfevents.123"
    mine = put(tmp_path, f"mine/{event}", f"fold1/mine/{event}", f"folds/{event}", "fold1/notes.txt")
    own = put(tmp_path, event, f"fold0/{event}", f"fold1/{event}")
    clear_logs(tmp_path, 1)
    assert all(path.exists() for path in mine)
    assert [path.exists() for path in own] == [True, False, False]  # the first goes as its successor begins


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_no_training_begins_where_its_lock_is_always_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock_and_lose(path: Path) -> IO[bytes]:
        file = lock_file(path)
        path.unlink()
        return file

    monkeypatch.setattr(files, "lock_file", lock_and_lose)
    with pytest.raises(TrainingError, match="choose another folder"), alone(tmp_path / "out"):
        pytest.fail("it began without a lock")


def test_one_training_at_a_time_writes_to_an_output(squares: Path, tmp_path: Path) -> None:
    """And the next one may, once it has ended; the lock goes with it."""
    output = tmp_path / "out"
    with alone(output), pytest.raises(TrainingError, match="another medattn train writes there") as caught:
        train(squares, output, config=SETTINGS, device="cpu")
    assert caught.value.code == "bad_argument"
    assert list(tmp_path.glob("*out*")) == []
    with alone(output):
        assert [path.name for path in tmp_path.glob(".*")] == [".out.lock"]
    assert list(tmp_path.glob(".*")) == []

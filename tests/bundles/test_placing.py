"""A bundle that takes the place of another: at no moment is the one lost, and what killed processes left goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medattn_core.bundles import Bundle, load, load_network, placing
from medattn_core.bundles.placing import LOCK, OLD, exchange, new_folder
from medattn_core.errors import BundleError
from medattn_core.files import held

Make = Callable[..., Bundle]
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks, and does not kill so")

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from medattn_core.bundles import placing, save_bundle
from medattn_core.networks.attention_cnn import AttentionCNN
from tests.bundles.conftest import NETWORK, TASK

target, moment = Path(sys.argv[1]), sys.argv[2]
replace, exchange, rmtree = os.replace, placing.exchange, shutil.rmtree

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def replaced(one, other):
    if moment == "before" and Path(one) == target:
        die()
    replace(one, other)
    if moment == "between" and Path(one) == target or moment == "after" and Path(other) == target:
        die()

def exchanged(one, other):
    if moment != "exchanged":
        return False
    assert exchange(one, other)
    die()

def removed(path, **options):
    if moment == "deleting" and Path(path, "configs").is_dir():
        rmtree(Path(path, "configs"))
        die()
    rmtree(path, **options)

os.replace, placing.exchange, shutil.rmtree = replaced, exchanged, removed
network = AttentionCNN(**NETWORK)
state = network.state_dict()
save_bundle(target, task=TASK, network_settings=NETWORK, state_dict=state, description="", version="2.0.0")
"""


def killed(target: Path, moment: str) -> None:
    """Another process writes version 2.0.0 to that name, and is killed at a moment of its taking the place."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), moment], cwd=ROOT, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL


def left(target: Path) -> list[Path]:
    return [path for path in target.parent.iterdir() if path != target]


def can_exchange(folder: Path) -> bool:
    for name in ("one", "other"):
        (folder / name).mkdir()
    done = exchange(folder / "one", folder / "other")
    for name in ("one", "other"):
        (folder / name).rmdir()
    return done


@pytest.mark.parametrize(
    ("moment", "there"),
    [("before", "1.0.0"), ("between", None), ("after", "2.0.0"), ("deleting", "2.0.0"), ("exchanged", "2.0.0")],
)
def test_after_a_kill_the_next_save_leaves_a_whole_bundle_alone(
    make: Make, tmp_path: Path, moment: str, there: str | None
) -> None:
    if moment == "exchanged" and not can_exchange(tmp_path):
        pytest.skip("folders cannot be exchanged here")
    target = make(version="1.0.0").path
    killed(target, moment)
    assert (load(target).version if target.exists() else None) == there
    assert len(left(target)) == 1
    load_network(make(version="3.0.0"))
    assert load(target).version == "3.0.0"
    assert left(target) == []


def test_a_bundle_that_was_aside_returns_even_where_the_next_save_fails(make: Make, tmp_path: Path) -> None:
    target = make(version="1.0.0").path
    killed(target, "between")
    with pytest.raises(BundleError):
        make(state_dict={})
    load_network(load(target))
    assert load(target).version == "1.0.0"
    assert left(target) == []


def test_a_half_deleted_bundle_does_not_return(make: Make, tmp_path: Path) -> None:
    target = make(version="1.0.0").path
    killed(target, "deleting")
    target.rename(tmp_path / "moved")
    with pytest.raises(BundleError):
        make(state_dict={})
    assert left(target) == [tmp_path / "moved"]
    assert not target.exists()


@pytest.mark.parametrize("exchanges", [True, False])
def test_an_old_bundle_is_replaced_with_and_without_exchange(
    make: Make, monkeypatch: pytest.MonkeyPatch, *, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(placing, "exchange", lambda *_: False)
    make(version="1.0.0")
    target = make(version="2.0.0").path
    assert load(target).version == "2.0.0"
    assert left(target) == []


@pytest.mark.parametrize("ends", [OSError, KeyboardInterrupt])
def test_what_ends_between_the_two_names_puts_the_old_bundle_back(
    make: Make, monkeypatch: pytest.MonkeyPatch, ends: type[BaseException]
) -> None:
    target, replace = make(version="1.0.0").path, os.replace

    def end(one: Path, other: Path) -> None:
        if other == target and one.name != OLD:
            raise ends(5, "Input/output error")
        replace(one, other)

    monkeypatch.setattr(placing, "exchange", lambda *_: False)
    monkeypatch.setattr(os, "replace", end)
    with pytest.raises((BundleError, KeyboardInterrupt)):
        make(version="2.0.0")
    assert load(target).version == "1.0.0"
    assert left(target) == []


def test_two_that_write_to_one_name_leave_each_other_alone(make: Make, tmp_path: Path) -> None:
    """Each clears away what is of no live process only; the last one's bundle lies there."""
    target, other = tmp_path / "lumps", make(tmp_path / "other").path
    with new_folder(target) as work:
        for path in (path for path in other.rglob("*") if path.is_file()):
            copy = work / path.relative_to(other)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        assert make(version="2.0.0").path == target
        assert work.is_dir()
    assert load(target).version == "1.2.0"
    assert left(target) == [other]


def test_hidden_folders_of_ones_own_stay(make: Make, tmp_path: Path) -> None:
    mine = [".lumps.notes", ".lumps.old.abcdefgh", ".lumps.abcdefgh", ".lumps.saving.abcdefgh", ".lumps.saving.x"]
    for name in mine:
        (tmp_path / name / "new").mkdir(parents=True)
        (tmp_path / name / "thesis.tex").write_text("years of work")
    (tmp_path / mine[3] / LOCK).touch()
    (tmp_path / ".lumps.saving.hgfedcba" / "old").mkdir(parents=True)  # without a lock
    (tmp_path / ".lumps.saving.linked_1").symlink_to(tmp_path / mine[0])
    before = sorted(tmp_path.rglob("*"))
    target = make().path
    assert sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(target)) == before


def test_nothing_is_swept_where_there_are_no_locks(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    place = tmp_path / ".lumps.saving.abcdefgh"
    (place / "new").mkdir(parents=True)
    with held(place / LOCK):
        make()
        assert (place / "new").is_dir()

        def refuse(*_: object) -> None:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)
        make()
        assert (place / "new").is_dir()
        assert left(tmp_path / "lumps") == [place]


def test_an_exchange_that_cannot_be_says_so(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert not exchange(tmp_path / "there", tmp_path / "gone")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]

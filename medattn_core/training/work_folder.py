"""What a training leaves beside its bundle: in folders of those names that are somebody's own, nothing is deleted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from medattn_core.errors import TrainingError
from medattn_core.files import held

CHECKPOINT = "checkpoint.pt"
"""Name of a checkpoint in the work folder, or in the folder of its fold there."""

EVENTS = "events.out.tfevents.*"
"""Names of TensorBoard's files."""

FOLD = re.compile(r"fold\d+")
"""Names of folders of folds."""

OWN = re.compile(rf"{re.escape(CHECKPOINT)}|\.{re.escape(CHECKPOINT)}\.\d+")
"""A checkpoint, or one that was being written as the process was killed."""

DUST = re.compile(r"\.nfs\w+|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.IGNORECASE)
"""What file systems and file browsers leave in any folder."""

NAMED = 3
"""Files that an error names."""


def work_of(output: Path) -> Path:
    """Folder of the checkpoints, which is there until a training is finished."""
    return output.with_name(output.name + ".training")


def logs_of(output: Path) -> Path:
    """Folder of the TensorBoard logs of a training."""
    return output.with_name(output.name + ".logs")


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """One training at a time writes to an output: two would clear each other's checkpoints, and one bundle be lost.

    Raises:
        TrainingError: ``bad_argument``: another one writes there; ``unwritable``.
    """
    path = output.with_name(f".{output.name}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path))
        except BlockingIOError as error:
            raise TrainingError(
                "bad_argument", f"{output}: another medattn train writes there; wait for it, or choose another folder"
            ) from error
        except OSError as error:
            raise TrainingError(
                "unwritable", f"{path}: cannot be written ({error.strerror or error}); choose another folder"
            ) from error
        yield


def check_work_is_own(work: Path) -> None:
    """Whether a work folder holds only what a training leaves there: all of it is deleted in the end.

    Raises:
        TrainingError: ``bad_argument``.
    """
    others = sorted(path.relative_to(work).as_posix() for path in _files(work) if not _is_own(path.relative_to(work)))
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        raise TrainingError(
            "bad_argument",
            f"{work}: holds files that are not of a training ({', '.join(others[:NAMED])}{more}), and the checkpoints "
            "are to lie there; move them, or choose another name for the bundle",
        )


def clear_work(work: Path) -> None:
    """Take away checkpoints and what was left of them; the folder too, if nothing else has come to lie there."""
    for path in _files(work):
        if _is_own(path.relative_to(work)):
            with suppress(OSError):
                path.unlink()
    for folder, _, _ in os.walk(work, topdown=False):
        with suppress(OSError):  # not empty
            os.rmdir(folder)


def clear_logs(logs: Path, folds: int) -> None:
    """Take away curves of an earlier training that this one does not replace as it begins: those of its folds.

    Args:
        logs: folder of the logs.
        folds: number of networks of this training.
    """
    own = {logs} if folds == 1 else {logs / f"fold{number}" for number in range(folds)}
    folders = [logs, *(path for path in logs.glob("fold*") if FOLD.fullmatch(path.name))]
    for folder in folders:
        for old in folder.glob(EVENTS) if folder not in own else ():
            old.unlink(missing_ok=True)


def _files(work: Path) -> Iterator[Path]:
    """All that is no plain folder: links are not followed."""
    for folder, folders, names in os.walk(work):
        yield from (Path(folder, name) for name in names)
        yield from (path for path in (Path(folder, name) for name in folders) if path.is_symlink())


def _is_own(path: Path) -> bool:
    """Of a path relative to the work folder."""
    *folders, name = path.parts
    if DUST.fullmatch(name):
        return True
    return bool(OWN.fullmatch(name)) and (not folders or (len(folders) == 1 and bool(FOLD.fullmatch(folders[0]))))

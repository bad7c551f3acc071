"""One evaluation at a time writes into a folder: two would leave numbers of one model beside curves of the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from medattn_core.errors import MedAttnError
from medattn_core.files import held

LOCK = ".evaluation.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder of the results, which is made; it goes again if nothing came to lie there.

    Raises:
        MedAttnError: ``unwritable``: another one writes there, or the folder may not be written.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            stack.enter_context(held(folder / LOCK))
        except BlockingIOError as error:
            raise MedAttnError(
                "unwritable",
                f"{folder}: another medattn evaluate writes there; wait for it, or choose another --output",
            ) from error
        except OSError as error:
            raise MedAttnError(
                "unwritable", f"{folder}: {error.strerror or error}; choose a folder that may be written"
            ) from error
        yield


def _remove_empty(folders: list[Path]) -> None:
    """From the innermost on; what holds something stays."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()

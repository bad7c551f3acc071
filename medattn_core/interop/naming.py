"""Names of the files that `monai.bundle run` leaves for an input: those of ``medattn predict``, each given once."""

from __future__ import annotations

from collections.abc import Iterable

from medattn_core.volumes.filenames import name_of


class Names:
    """Gives each name once: of inputs with the same base name, the later ones get the first free number behind it.

    Case does not distinguish (macOS, Windows).

    Args:
        sources: every input that will ask, where they are known. No number makes a name that is another's own: beside
            ``scan.jpg``, ``scan.nii.gz`` and ``scan_2.nii.gz`` the second is ``scan_3``.
    """

    def __init__(self, sources: Iterable[str] = ()) -> None:
        self._own = {name_of(source).casefold() for source in sources}
        self._taken: set[str] = set()

    def take(self, source: str) -> str:
        """The name for the files of the next input, whose path this is."""
        name = free = name_of(source)
        count = 1
        while free.casefold() in self._taken or (count > 1 and free.casefold() in self._own):
            count += 1
            free = f"{name}_{count}"
        self._taken.add(free.casefold())
        return free

"""Evidence for which class, and compared with which. Part of the panel."""

from __future__ import annotations

from typing import Any

from MedAttnLib import panel_choices
from MedAttnLib.finding import Finding


class ClassChoice:
    """Asks the logic for the map of the class that is chosen.

    Args:
        panel: whose widgets and logic are used.
    """

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui = panel, panel.ui
        self._asked: tuple[str, str, str] | None = None  # scan, class and against that are on their way
        self.ui.classSelector.connect("currentIndexChanged(int)", self.on_class)
        self.ui.againstSelector.connect("currentIndexChanged(int)", self.on_class)

    @property
    def on_its_way(self) -> bool:
        """Whether the map of another class was asked for and is not there yet."""
        return self._asked is not None

    def on_class(self, *_arguments: Any) -> None:
        """Evidence for another class, or compared with another."""
        panel, found = self.panel, self.panel.found
        label, against = panel_choices.chosen(self.ui.classSelector), panel_choices.chosen(self.ui.againstSelector)
        if found is None or not found.live or not label:
            return
        asked = (panel.volume.GetID(), label, against if against != label else "")
        if asked == (self._asked or self._class_of(found)):
            return
        self._asked = asked
        panel.logic.explain(panel.volume, label, asked[2] or None, done=self._explained, failed=self._unexplained)
        panel.hurry()

    @staticmethod
    def _class_of(found: Finding) -> tuple[str, str, str]:
        return found.volume_id, found.evidence["label"], found.evidence.get("against") or ""

    def _unexplained(self, code: str, message: str) -> None:
        self._asked = None
        self.panel.failed(code, message, anew=True)

    def _explained(self, found: Finding) -> None:
        if self._asked not in (None, self._class_of(found)):
            return  # the reader has gone on to another, which is on its way
        self._asked = None
        self.panel.show_anew()

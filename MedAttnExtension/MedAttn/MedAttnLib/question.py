"""Regions, and what if: ticked off, or a segment painted, and the new probability. Part of the panel."""

from __future__ import annotations

import html
from typing import Any

import qt

from MedAttnLib import panel_choices, panel_tables, wording
from MedAttnLib.finding import named
from MedAttnLib.texts import _

REST_MS = 150
"""A stroke of the brush, or a loaded scene, is many changes: what follows from them waits until they rest this long."""


class Question:
    """Asks the logic what the reader's ticks and strokes amount to; goes to regions, and makes segments of them.

    Args:
        panel: whose widgets and logic are used.

    Attributes:
        answer: the engine's last answer, None where nothing is asked.
    """

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui = panel, panel.ui
        self.answer: dict[str, Any] | None = None
        self._number = 0
        self._painted: list[tuple[Any, int]] = []
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.connect("timeout()", self.ask)
        ui = self.ui
        panel_choices.fill_modes(ui.modeSelector)
        ui.regionsTable.connect("itemChanged(QTableWidgetItem*)", self.ask)
        ui.modeSelector.connect("currentIndexChanged(int)", self.ask)
        ui.whatIfSegmentation.connect("currentNodeChanged(vtkMRMLNode*)", self.on_painted_node)
        ui.whatIfSegment.connect("currentIndexChanged(int)", self.ask)
        ui.resetButton.connect("clicked(bool)", self.on_reset)
        ui.regionsTable.connect("cellClicked(int,int)", self.on_region)
        ui.segmentButton.connect("clicked(bool)", self.on_segment)

    def begin(self) -> None:
        """Another scan: what was asked of the one before is not asked of it."""
        panel_choices.fill_modes(self.ui.modeSelector)

    def drop(self) -> None:
        """Another finding, or another class of it: an answer that is on its way is about what was shown before."""
        self._number += 1
        self.answer = None

    def close(self) -> None:
        """Follow no brush any more."""
        self._rest.stop()
        for node, tag in self._painted:
            node.RemoveObserver(tag)
        self._painted.clear()

    @property
    def live(self) -> bool:
        """Whether the engine still knows the prediction, and has time."""
        found = self.panel.found
        return found is not None and found.live and not self.panel.logic.busy

    def enable(self, live: bool) -> None:
        """Enable the widgets of the question."""
        for widget in (self.ui.modeSelector, self.ui.whatIfSegmentation, self.ui.resetButton):
            widget.enabled = live
        self.ui.whatIfSegment.enabled = live and self.ui.whatIfSegment.count > 0

    def show(self, problem: str = "") -> None:
        """The answer beside the probabilities, and in words."""
        found, ui = self.panel.found, self.ui
        panel_tables.show_probabilities(ui.probabilityTable, found, self.answer)
        if found is None or self.answer is None:
            ui.whatIfLabel.text = problem
            return
        label = None if found.regression else found.evidence["label"]
        before = wording.answer(found.result, label)
        after = wording.answer({**self.answer, "unit": found.result.get("unit")}, label)
        asked = wording.question(self.answer["question"])
        lines = [f"{html.escape(asked)}:", f"{html.escape(before)} \N{RIGHTWARDS ARROW} <b>{html.escape(after)}</b>"]
        if label and wording.leaves_open(found.result, self.answer["probabilities"], label):
            # Below which of two limits one of several labels stays, that of the rule or the threshold, is not told.
            several = found.result["kind"] == "multiclass"
            then = (
                _("The model would then decide for no label.") if several else _("The model would then be undecided.")
            )
            lines.append(html.escape(then))
        for warning in self.answer.get("warnings") or ():
            lines.append(html.escape(named(warning["message"], self.panel.volume, found.region)))
        ui.whatIfLabel.text = "<br>".join(lines)

    def on_painted_node(self, node: Any) -> None:
        """Another painted segmentation: follow the brush."""
        self._follow(node, "")

    def follow(self) -> None:
        """Follow the brush again, and ask anew: the reader may have painted in another module since :meth:`close`."""
        self._follow(self.ui.whatIfSegmentation.currentNode(), panel_choices.chosen(self.ui.whatIfSegment))

    def _follow(self, node: Any, segment: str) -> None:
        self.close()
        panel_choices.fill_segments(self.ui.whatIfSegment, node, segment)
        if node is not None:
            for event in panel_choices.paint_events():
                self._painted.append((node, node.AddObserver(event, self._on_paint)))
        self.enable(self.live)
        self.ask()

    def _on_paint(self, *_arguments: Any) -> None:
        node = self.ui.whatIfSegmentation.currentNode()
        panel_choices.fill_segments(self.ui.whatIfSegment, node, panel_choices.chosen(self.ui.whatIfSegment))
        self.enable(self.live)
        self._rest.start()

    def ask(self, *_arguments: Any) -> None:
        """Ask what the model would say; the answer is shown when it is there."""
        found = self.panel.found
        if not self.live or self.panel.classes.on_its_way:  # whose regions those of the table are not
            return
        off = panel_tables.ticked_off(self.ui.regionsTable, found)
        mode = panel_choices.chosen(self.ui.modeSelector)
        ticked = [int(region["id"]) for region in found.regions if int(region["id"]) not in off]
        regions = ticked if mode == "only" else off
        node, segment = self.ui.whatIfSegmentation.currentNode(), panel_choices.chosen(self.ui.whatIfSegment)
        painted = node is not None and bool(segment)
        self._number += 1
        if not painted and not regions:
            self.answer = None
            nothing = mode == "only" and bool(found.regions)
            self.show(_("Nothing is ticked or painted: the model is asked nothing.") if nothing else "")
            return
        number = self._number
        self.panel.logic.what_if(
            self.panel.volume,
            regions=regions,
            mode=mode,
            segmentation=node if painted else None,
            segment=segment if painted else "",
            done=lambda answer: self._answered(number, answer),
            failed=lambda code, message: self._unanswered(number, code, message),
        )
        self.panel.hurry()

    def _answered(self, number: int, answer: dict[str, Any]) -> None:
        if number == self._number:  # the reader may have gone on ticking
            self.answer = answer
            self.show()

    def _unanswered(self, number: int, code: str, message: str) -> None:
        if number == self._number:
            self.answer = None
            self.panel.update()  # the engine may not know the prediction any more
            self.show("" if code == "cancelled" else named(message, self.panel.volume))

    def on_reset(self, *_arguments: Any) -> None:
        """Take the question back."""
        panel_tables.tick_all(self.ui.regionsTable)
        panel_choices.fill_modes(self.ui.modeSelector)
        self.ui.whatIfSegmentation.setCurrentNode(None)
        self.ask()

    def on_region(self, row: int, _column: int = 0) -> None:
        """The slice views go to a region."""
        panel = self.panel
        if panel.found is not None and 0 <= row < len(panel.found.regions):
            panel.logic.jump_to(panel.volume, panel.found.regions[row])

    def on_segment(self, *_arguments: Any) -> None:
        """Make a segment of the chosen region, the strongest if none is chosen."""
        panel, found = self.panel, self.panel.found
        if found is None or not found.regions:
            return
        row = max(0, self.ui.regionsTable.currentRow())
        region = int(found.regions[min(row, len(found.regions) - 1)]["id"])
        panel.logic.region_to_segment(
            panel.volume, region, done=lambda made: panel.say(_("Segment made")), failed=panel.failed
        )
        panel.hurry()

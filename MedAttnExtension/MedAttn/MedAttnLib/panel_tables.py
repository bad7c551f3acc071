"""The two tables of the panel: probabilities with bars, and regions that can be ticked off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

from MedAttnLib import wording
from MedAttnLib.finding import Finding
from MedAttnLib.texts import _

BAR = "QProgressBar {border: 1px solid palette(mid); border-radius: 2px; text-align: center;} "
BAR_CHUNK = "QProgressBar::chunk {background-color: %s;}"
STRONG, WEAK, ASKED = "#f2a65a", "#d9d2c5", "#9cc3e6"
ROW = 24
PLACE = 2
"""Column of the regions that says where they are."""


def _cell(text: str, *, right: bool = False, bold: bool = False, tip: str = "") -> Any:
    item = qt.QTableWidgetItem(text)
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    if right:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    if bold:
        font = item.font()
        font.setBold(True)
        item.setFont(font)
    if tip:
        item.setToolTip(tip)
    return item


def _bar(share: float, text: str, colour: str, name: str) -> Any:
    bar = qt.QProgressBar()
    bar.setRange(0, 1000)
    bar.setValue(round(1000 * min(max(share, 0.0), 1.0)))
    bar.setFormat(text)
    bar.setStyleSheet(BAR + BAR_CHUNK % colour)
    bar.setAccessibleName(name)
    return bar


def _fit_height(table: Any) -> None:
    table.setFixedHeight((max(1, table.rowCount) + 1) * ROW + 4)


def prepare(table: Any, headers: Sequence[str], stretch: int) -> None:
    """Headers and widths, once."""
    table.setHorizontalHeaderLabels(list(headers))
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(ROW)
    header = table.horizontalHeader()
    header.setFixedHeight(ROW)
    for column in range(len(headers)):
        wide = column == stretch
        header.setSectionResizeMode(column, qt.QHeaderView.Stretch if wide else qt.QHeaderView.ResizeToContents)
    _fit_height(table)


def prepare_probabilities(table: Any) -> None:
    """The table of probabilities."""
    prepare(table, _headers(regression=False), 1)
    header = table.horizontalHeader()
    header.setSectionResizeMode(2, qt.QHeaderView.Stretch)


def _headers(*, regression: bool) -> tuple[str, str, str]:
    """A quantity has a value and no probability."""
    return (_("Quantity"), _("Value"), _("What if")) if regression else (_("Label"), _("Probability"), _("What if"))


def prepare_regions(table: Any) -> None:
    """The table of regions."""
    prepare(table, (_("On"), _("No."), _("Place, mm"), _("Volume"), _("Contributes"), _("Without")), PLACE)


def show_probabilities(table: Any, found: Finding | None, asked: dict[str, Any] | None) -> None:
    """A bar a label, and beside it the answer to the question.

    Args:
        table: QTableWidget.
        found: what to show; None empties the table.
        asked: the engine's answer to a what-if, or None.
    """
    labels = [] if found is None else found.labels
    table.setHorizontalHeaderLabels(list(_headers(regression=found is not None and found.regression)))
    table.setRowCount(len(labels))
    for row, label in enumerate(labels):
        strong = label in found.said
        table.setItem(row, 0, _cell(label, bold=strong and not wording.strange(found.result)))
        for column, source, colour in ((1, found.result, STRONG if strong else WEAK), (2, asked, ASKED)):
            table.removeCellWidget(row, column)  # the bar of a result before would lie over the text of a quantity
            if source is None:
                table.setItem(row, column, _cell(""))
            elif found.regression:
                table.setItem(row, column, _cell(wording.answer({**source, "unit": found.result.get("unit")})))
            else:
                share = float(source["probabilities"][label])
                name = f"{label}: {wording.percent(share)}"
                table.setCellWidget(row, column, _bar(share, wording.percent(share), colour, name))
    _fit_height(table)


def show_regions(table: Any, found: Finding | None, places: Sequence[Sequence[float] | None]) -> None:
    """A row a region, all ticked; ``places`` are theirs by now, RAS mm."""
    regions = [] if found is None else found.regions
    table.blockSignals(True)
    table.setRowCount(len(regions))
    for row, (region, place) in enumerate(zip(regions, places, strict=True)):
        tick = qt.QTableWidgetItem("")
        flags = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
        tick.setFlags(flags | qt.Qt.ItemIsUserCheckable if found.live else flags)
        tick.setCheckState(qt.Qt.Checked)
        tick.setToolTip(_("Untick: what would the model say without it?"))
        table.setItem(row, 0, tick)
        without = region["probability_without"]
        unit = found.result.get("unit") or ""
        words = (
            str(region["id"]),
            wording.place(place),
            wording.volume(region["volume_mm3"]),
            wording.contribution(region["contribution"], found.contribution_unit, regression=found.regression),
            f"{wording.number(without, 4)} {unit}".strip() if found.regression else wording.percent(without),
        )
        for column, text in enumerate(words, start=1):
            table.setItem(row, column, _cell(text, right=column != PLACE, tip=_("Click: show it in the slice views")))
    table.blockSignals(False)
    _fit_height(table)


def show_places(table: Any, places: Sequence[Sequence[float] | None]) -> None:
    """Where the regions are by now, RAS mm; the ticks stay as they are."""
    table.blockSignals(True)
    for row, place in enumerate(places[: table.rowCount]):
        table.item(row, PLACE).setText(wording.place(place))
    table.blockSignals(False)


def ticked_off(table: Any, found: Finding | None) -> list[int]:
    """Ids of the regions whose tick was taken away."""
    if found is None:
        return []
    rows = range(min(table.rowCount, len(found.regions)))
    return [int(found.regions[row]["id"]) for row in rows if table.item(row, 0).checkState() == qt.Qt.Unchecked]


def tick_all(table: Any) -> None:
    """Take the question back without asking again for each row."""
    table.blockSignals(True)
    for row in range(table.rowCount):
        table.item(row, 0).setCheckState(qt.Qt.Checked)
    table.blockSignals(False)

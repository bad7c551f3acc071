"""Result tables in the scene: probabilities, regions, and one row a scan of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import vtk

from MedAttnLib import nodes, wording
from MedAttnLib.texts import _


def fill(node, columns: Sequence[tuple[str, Sequence[Any], str]]) -> None:
    """Fill a table node anew.

    Args:
        node: vtkMRMLTableNode.
        columns: ``(name, values, unit)``; text, whole or real numbers by the first value; None is an empty cell.
    """
    table = vtk.vtkTable()
    for name, values, _unit in columns:
        sample = next((value for value in values if value is not None), "")
        if isinstance(sample, str):
            array: Any = vtk.vtkStringArray()
        elif isinstance(sample, (bool, int)):
            array = vtk.vtkIntArray()
        else:
            array = vtk.vtkDoubleArray()
        array.SetName(name)
        for value in values:
            if isinstance(array, vtk.vtkStringArray):
                array.InsertNextValue("" if value is None else str(value))
            else:
                array.InsertNextValue(float("nan") if value is None else value)
        table.AddColumn(array)
    node.SetAndObserveTable(table)
    for name, _values, unit in columns:
        if unit:
            node.SetColumnUnitLabel(name, unit)


def probabilities(scene, input_node, result: dict):
    """The table of a result: a row a label, or the quantity."""
    node = nodes.find_or_make(
        scene, nodes.PROBABILITIES, input_node, _("{volume} result").format(volume=input_node.GetName())
    )
    labels = list(result["logits"])
    regression = result["kind"] == "regression"
    bias = [result["bias"][label] for label in labels]
    if regression:  # the sum is the value itself: a quantity has no logit
        unit = result["unit"] or ""
        columns = [(_("Quantity"), labels, ""), (_("Value"), [result["value"]], unit), (_("Bias"), bias, unit)]
    else:
        columns = [
            (_("Label"), labels, ""),
            (_("Probability"), [result["probabilities"][label] for label in labels], ""),
            (_("Logit"), [result["logits"][label] for label in labels], "logit"),
            (_("Bias"), bias, "logit"),
        ]
    fill(node, columns)
    return node


def regions(scene, input_node, found: Sequence[dict], unit: str, *, regression: bool):
    """The table of the regions of the shown class, or of the quantity."""
    node = nodes.find_or_make(
        scene, nodes.REGIONS, input_node, _("{volume} regions").format(volume=input_node.GetName())
    )
    places = [region["world_position_mm"] for region in found]
    indices = [region["voxel_index"] for region in found]
    volumes = [region["volume_mm3"] for region in found]
    fill(
        node,
        [
            (_("Region"), [int(region["id"]) for region in found], ""),
            (_("Label"), [region["label"] for region in found], ""),
            *(
                (axis, [None if place is None else float(place[n]) for place in places], "mm")
                for n, axis in enumerate("RAS")
            ),
            *((axis, [int(index[n]) for index in indices], "") for n, axis in enumerate("ijk")),
            (_("Volume"), [None if mm3 is None else mm3 / 1000.0 for mm3 in volumes], "mL"),
            (_("Contribution"), [region["contribution"] for region in found], unit),
            (
                _("Value without") if regression else _("Probability without"),
                [region["probability_without"] for region in found],
                unit if regression else "",
            ),
        ],
    )
    return node


def batch(scene, rows: Sequence[dict]):
    """The table of a batch: one row a scan, those that failed too."""
    node = nodes.find(scene, nodes.BATCH) or nodes.make(scene, nodes.BATCH, None, _("MedAttn batch results"))
    labels = list(dict.fromkeys(label for row in rows for label in row.get("probabilities") or {}))
    columns: list[tuple[str, Sequence[Any], str]] = [
        (_("Volume"), [row["volume"] for row in rows], ""),
        (_("Bundle"), [row.get("bundle") or "" for row in rows], ""),
        (_("Label"), [_said(row) for row in rows], ""),
        (_("Undecided"), [_open(row) for row in rows], ""),
    ]
    columns += [
        (label, [(row.get("probabilities") or {}).get(label, float("nan")) for row in rows], "") for label in labels
    ]
    if any(row.get("value") is not None for row in rows):
        units = {row.get("unit") or "" for row in rows if row.get("value") is not None}
        unit = units.pop() if len(units) == 1 else ""
        columns.append((_("Value"), [float("nan") if r.get("value") is None else r["value"] for r in rows], unit))
    columns += [
        (_("Warnings"), ["; ".join(w["code"] for w in row.get("warnings") or ()) for row in rows], ""),
        (_("Error"), [row.get("error") or "" for row in rows], ""),
        (_("Time"), [float(row.get("seconds") or 0.0) for row in rows], "s"),
    ]
    fill(node, columns)
    return node


def _said(row: dict) -> str:
    """What is said to be there and not left open, as in the panel; a scan that failed has nothing."""
    if row.get("error") or row.get("kind") == "regression":
        return row.get("label") or ""
    left = row.get("undecided") or row.get("abstained")
    return ", ".join(wording.said(row)) or ("" if left else _("none"))


def _open(row: dict) -> str:
    """Labels about which the model could not decide: where one is said of several, the most probable."""
    each = row.get("undecided")
    return ", ".join(each) if each is not None else row["label"] if row.get("abstained") else ""

"""What looking at a data list has found, for programs and for persons."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from medattn_core.datalists.splits import HELD_OUT_SECTION
from medattn_core.errors import Notice

NONE = "(none)"
"""Row of the cases that show no label."""

KINDS = {
    "multiclass": "multiclass: one of the labels a case",
    "multilabel": "multilabel: each label is there or not",
    "regression": "regression of the value",
}
"""Kinds of task in words."""


@dataclass(frozen=True)
class Fault(Notice):
    """What keeps a file, or the list, from being used.

    Attributes:
        input: the file.
    """

    input: str

    def to_dict(self) -> dict[str, str]:
        """``{"input", "code", "message"}``, as a row of results has them."""
        return {"input": self.input, **super().to_dict()}


@dataclass(kw_only=True)
class Checked:
    """What a list holds.

    Attributes:
        cases, patients, channels: numbers; patients counts a case without one as one.
        held_out: cases of the list ``validation``, which training holds out; their images are looked at, too. Of the
            list ``training`` only: what another is for is not known.
        kind: of the task that is trained on it: ``multiclass``, ``multilabel``, ``regression``; empty without truth.
            The cases of ``validation`` have their say in it, as in training.
        classes: label to fold to number of cases, ``validation`` aside; the fold is None where the list names none.
        values: lowest, mean and highest value, or None.
        masks, boxes: cases that have one.
        geometry: range of each quantity over the images that could be read, as ``(lowest, median, highest)``.
        modalities, dimensions: how many images of each.
        warnings: what is allowed but probably not meant.
        errors: of every image, mask or box that cannot be used, and of the list where its truth is one that training
            refuses.
    """

    cases: int = 0
    patients: int = 0
    channels: int = 1
    held_out: int = 0
    kind: str = ""
    classes: dict[str, dict[int | None, int]] = field(default_factory=dict)
    values: tuple[float, float, float] | None = None
    masks: int = 0
    boxes: int = 0
    geometry: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    modalities: dict[str, int] = field(default_factory=dict)
    dimensions: dict[str, int] = field(default_factory=dict)
    warnings: list[Notice] = field(default_factory=list)
    errors: list[Fault] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; the fold None becomes ``"none"``, and a warning the line that is printed of it."""
        data = asdict(self)
        data["warnings"] = [str(notice) for notice in self.warnings]
        data["errors"] = [fault.to_dict() for fault in self.errors]
        data["classes"] = {
            label: {"none" if fold is None else str(fold): count for fold, count in counts.items()}
            for label, counts in self.classes.items()
        }
        return data

    def lines(self) -> list[tuple[str, str]]:
        """``(what, text)`` for a person; labels are in :attr:`classes`."""
        found = [("cases", f"{self.cases} of {self.patients} patients")]
        if self.held_out:
            found.append(("held out", f"{self.held_out} more, of the list '{HELD_OUT_SECTION}'"))
        if self.channels > 1:
            found.append(("channels", str(self.channels)))
        if self.kind:
            found.append(("task", KINDS[self.kind]))
        if self.values is not None:
            low, mean, high = self.values
            found.append(("values", f"{low:g} to {high:g}, mean {mean:g}"))
        found.append(("places", f"{self.masks} masks, {self.boxes} boxes"))
        found.append(("images", ", ".join(f"{n} {kind}" for kind, n in self.dimensions.items()) or "none readable"))
        if set(self.modalities) - {"not stated"}:
            found.append(("modality", ", ".join(f"{n} {name}" for name, n in self.modalities.items())))
        for name, (low, middle, high) in self.geometry.items():
            text = f"{low:g}" if low == high else f"{low:g} to {high:g}, median {middle:g}"
            what, unit = name.rpartition("_")[::2]
            found.append((what, f"{text} {unit}"))
        return found

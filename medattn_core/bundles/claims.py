"""What may be claimed of one result by the rules of a bundle, which were measured on other scans; limits in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medattn_core.bundles.trust import Trust
from medattn_core.errors import Notice
from medattn_core.tasks import TaskSpec

UNMEASURED: dict[str, str] = {
    "unlike_training": "the scan is unlike those the model was trained on",
    "masked": "attention was restricted to a region of interest",
    "whole_volume": "the model was evaluated on single slices only, not on whole volumes",
}
"""Warnings with which shares that were measured on other scans do not hold, and why."""


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What tables, pages and viewers say of a result from held-out scans; the raw numbers stay on the prediction.

    Attributes:
        label_set, interval, confidence: as in :class:`medattn_core.inference.Prediction`; None without a rule, and
            where they are not known for this scan.
        calibrated: whether the probabilities are, for this scan; None of a quantity.
        unmeasured: why they are not known for this scan, by the code of the warning; empty where they are, and where
            the bundle has no rule to claim anything by.
    """

    label_set: tuple[str, ...] | None = None
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    calibrated: bool | None = None
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    def with_warnings(self, warnings: Iterable[Notice]) -> Claims:
        """What is left of it for a scan with these warnings."""
        codes = {notice.code for notice in warnings}
        why = {code: text for code, text in UNMEASURED.items() if code in codes}
        claimed = any(one is not None for one in (self.label_set, self.interval, self.confidence))
        if not why:
            return self
        calibrated = None if self.calibrated is None else False
        return Claims(calibrated=calibrated, unmeasured=why if claimed else {})

    def to_dict(self) -> dict[str, Any]:
        """The keys of predictions.json."""
        return {
            "label_set": list(self.label_set) if self.label_set is not None else None,
            "interval": list(self.interval) if self.interval is not None else None,
            "confidence": self.confidence,
            "calibrated": self.calibrated,
        }


def whole_volume(task: TaskSpec, trust: Trust, slices: int) -> Notice | None:
    """The warning of a volume by a model whose rules were measured on single slices; None for other scans and models.

    Args:
        task, trust: of the model.
        slices: of the scan as the model is given them: thin ones are averaged before.
    """
    if not task.slicewise or trust.slices != 1 or slices <= 1:
        return None
    return Notice(
        "whole_volume",
        "the model was measured on single slices, not on whole volumes: its probabilities and limits are not "
        "calibrated for this scan, and how often such a result is right is not known",
    )


def limits(task: TaskSpec, trust: Trust) -> dict[str, tuple[float, float]]:
    """Between which probabilities each label is undecided, by the bundle's own rules; labels without one are left out.

    Where one of several labels is said it is the same for all, from zero to the probability that decides: that of the
    rule to abstain, the threshold of the task, or the higher of both.
    """
    if task.kind == "multiclass":
        least = [x for x in (trust.abstain_below, task.threshold if task.takes_one else None) if x is not None]
        return dict.fromkeys(task.labels, (0.0, max(least))) if least else {}
    if task.kind == "regression":
        return {}
    found = {label: rule.between(task.said_from) for label, rule in trust.undecided.items() if label in task.labels}
    return {label: ends for label in task.labels if (ends := found.get(label)) is not None}


def percent_of(limit: float) -> str:
    """A limit, for a person: ``"36.2 %"``, ``"50 %"``; more digits where one would make it nothing or all."""
    digits = 1
    while 0 < limit < 1 and float(f"{100 * limit:.{digits}f}") in (0.0, 100.0) and digits < 15:
        digits += 1
    return _cut(limit, digits)


def apart(probability: float, limit: float) -> tuple[str, str]:
    """A probability and a limit in percent, with as many digits as it takes to tell one from the other."""
    digits = 1
    while f"{100 * probability:.{digits}f}" == f"{100 * limit:.{digits}f}" and digits < 15:
        digits += 1
    said = "< 0.1 %" if probability < 0.0005 and digits == 1 else f"{100 * probability:.{digits}f} %"
    return said, percent_of(limit) if digits == 1 else _cut(limit, digits)


def _cut(share: float, digits: int) -> str:
    text = f"{100 * share:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.')} %"

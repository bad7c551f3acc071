"""What is said of a scan: one rule for the command line, pictures and pages, which have numbers of their own style.

Labels that are left open are named as such whatever their probabilities, and no label is named like a finding that the
model does not state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medattn_core.outputs.text import none_of

if TYPE_CHECKING:
    from medattn_core.inference.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said by labels; a quantity is :func:`quantity`.

    Attributes:
        said: labels that are there and not left open, most probable first.
        undecided: labels that are left open, most probable first.
        below: whether none is said because one of several would be, and stays below the threshold of the task.
        best: the most probable label.
        labels: all of the task.
    """

    said: tuple[str, ...]
    undecided: tuple[str, ...]
    below: bool
    best: str
    labels: tuple[str, ...]

    @classmethod
    def of(cls, prediction: Prediction) -> Answer:
        """The answer of a prediction in classification."""
        task = prediction.task
        return cls._of(
            task.labels,
            prediction.label,
            prediction.present,
            one=task.takes_one,
            abstained=prediction.abstained,
            undecided=prediction.undecided,
        )

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Answer:
        """The answer of an object of predictions.json in classification, also of older ones that have fewer keys."""
        labels, best, present = tuple(record["probabilities"] or {}), record["label"] or "", record.get("present")
        below = any(warning["code"] == "below_threshold" for warning in record["warnings"])
        return cls._of(
            labels,
            best,
            ((best,) if not below else ()) if present is None else present,
            one=below and len(labels) > 1,  # without that warning one is said, or each label is judged by itself
            abstained=record.get("abstained"),
            undecided=record.get("undecided"),
        )

    @classmethod
    def _of(
        cls,
        labels: Sequence[str],
        best: str,
        present: Sequence[str],
        *,
        one: bool,
        abstained: bool | None,
        undecided: Sequence[str] | None,
    ) -> Answer:
        open_ = tuple(undecided or ((best,) if abstained else ()))
        said = tuple(label for label in present if label not in open_)
        below = one and not said and not open_
        return cls(said=said, undecided=open_, below=below, best=best, labels=tuple(labels))

    @property
    def words(self) -> str:
        """It without numbers: ``"glioma; undecided: edema"``, ``"below the threshold: glioma"``, ``"no aneurysm"``."""
        if self.below:
            return f"below the threshold: {self.best}"
        left = f"undecided: {', '.join(self.undecided)}" if self.undecided else ""
        return "; ".join(part for part in (", ".join(self.said), left) if part) or none_of(self.labels)


def quantity(prediction: Prediction, number: Callable[[float], str]) -> str:
    """A quantity with its unit, and its interval where one is given and holds: ``"volume  3310 mm3 (2900 to 3700)"``.

    Args:
        prediction: of a regression.
        number: writes a number.
    """
    value = float("nan") if prediction.value is None else prediction.value
    said = f"{prediction.label}  {number(value)} {prediction.unit}".rstrip()
    between = prediction.claims.interval
    return said if between is None else f"{said} ({number(between[0])} to {number(between[1])})"

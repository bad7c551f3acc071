"""Single lesions and false alarms of a list, for FROC.

Which labels are lesions is known when every mask was seen: `normal` with an empty mask each is none. Masks may be large
and are read once, with their case; so what may count is kept until the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medattn_core.datalists import Case
from medattn_core.evaluation import localisation
from medattn_core.evaluation.maps import MapScores
from medattn_core.inference import Prediction


@dataclass
class Lesions:
    """What the cases of a list show.

    Attributes:
        candidates: labels of the cases that have a mask file.
        drawn: those of masks that hold something and could be used: the lesions.
        shown: labels of each case by its number.
        found: of each case, label to its detections, see :func:`medattn_core.evaluation.localisation.detections`.
        outlined: cases whose lesion is drawn.
        left_out: cases of which a mask or box could not be used: what they show is not known.
    """

    candidates: frozenset[str]
    drawn: set[str] = field(default_factory=set)
    shown: dict[int, tuple[str, ...]] = field(default_factory=dict)
    found: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    outlined: set[int] = field(default_factory=set)
    left_out: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, cases: Iterable[Case]) -> Lesions:
        """Of a list of which nothing was seen yet."""
        return cls(frozenset(label for case in cases if case.mask is not None for label in case.labels or ()))

    def add(self, index: int, labels: Sequence[str], prediction: Prediction, inside: np.ndarray | None) -> None:
        """Detections of one case.

        Args:
            index: number of the case.
            labels: that are true of it.
            prediction: of it.
            inside: boolean on the scan's voxels, the lesion of its one label; None where no mask draws it.
        """
        found = {}
        if inside is not None:
            found[labels[0]] = _detections(prediction, labels[0], inside)
        for label in prediction.task.labels:
            if label in self.candidates and label not in labels:
                found[label] = _detections(prediction, label, None)
        self.shown[index], self.found[index] = tuple(labels), found
        if inside is not None:
            self.drawn.add(labels[0])
            self.outlined.add(index)

    def count(self, scores: MapScores) -> None:
        """Into the scores of the list, once all of its cases were added."""
        for index, found in self.found.items():
            # Where a lesion is there and not drawn, a region that finds it would count as a false alarm.
            if index in self.left_out or (self.drawn.intersection(self.shown[index]) and index not in self.outlined):
                continue
            own = scores.froc.setdefault(index, {"false": [], "true": [], "lesions": 0})
            for label in self.drawn.intersection(found):
                for name, more in found[label].items():
                    own[name] += more
        scores.undrawn |= (set(self.found) | self.left_out) - set(scores.froc)


def _detections(prediction: Prediction, label: str, inside: np.ndarray | None) -> dict[str, Any]:
    """Of one label; a scan that does not show it (None) has false alarms only."""
    from scipy.ndimage import label as parts

    regions = prediction.regions(label)
    strength = [region.contribution for region in regions]
    if inside is None:
        return localisation.detections(strength, [], np.zeros((1, 1, 1), int))
    lesions, _ = parts(inside, np.ones((3, 3, 3)))
    evidence = prediction.evidence(label).data
    return localisation.detections(strength, [localisation.peak(evidence, r.mask) for r in regions], lesions)

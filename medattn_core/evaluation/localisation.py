"""Does the map lie where the finding is? Measures on the scan's own voxels.

Pointing game: Zhang et al. 2018 (arXiv 1608.00507), but without their tolerance of 15 pixels around the finding: the
peak has to lie inside. Energy: Wang et al. 2020 (arXiv 1910.01279); FROC: MONAI's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

THRESHOLDS = np.array([0.01, 0.02, 0.03, *np.linspace(0.05, 0.95, 19)])
"""Shares of the peak from which the threshold of the overlap is chosen; low ones for maps with a sharp peak."""

DEFAULT_THRESHOLD = 0.5


def overlaps(evidence: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Intersection over union of the finding with the map above each of :data:`THRESHOLDS` of its peak."""
    peak = float(evidence.max())
    if peak <= 0:
        return np.zeros(len(THRESHOLDS))
    found = []
    for share in THRESHOLDS:
        above = evidence >= share * peak
        found.append(float((above & inside).sum() / max(1, (above | inside).sum())))
    return np.array(found)


def peak(evidence: np.ndarray, within: np.ndarray | None = None) -> tuple[int, ...]:
    """Index of the strongest voxel.

    A map is as coarse as its cells, and several voxels of the strongest one are equal: then the one in their middle.

    Args:
        evidence: a map.
        within: boolean, the same shape: the region whose peak it is; None for all of the map.
    """
    from scipy.ndimage import label as parts

    values = evidence if within is None else np.where(within, evidence, -np.inf)
    top = float(values.max())
    places = np.argwhere(values >= top - 1e-6 * abs(top))
    low = places.min(axis=0)
    box = np.zeros(places.max(axis=0) - low + 1, bool)
    box[tuple((places - low).T)] = True
    number, _ = parts(box)  # of several cells that are equal by chance the first
    chosen = np.argwhere(number == number[tuple(places[0] - low)]) + low
    # Halves go where the index of a region does.
    nearest = int(((chosen - np.rint(chosen.mean(axis=0))) ** 2).sum(axis=1).argmin())
    return tuple(int(i) for i in chosen[nearest])


def scores(
    evidence: np.ndarray, inside: np.ndarray, threshold: float | None = None, curve: np.ndarray | None = None
) -> dict[str, float]:
    """Measures of one map.

    Args:
        evidence: any map on the scan's voxels; what is negative speaks against the label and counts as none, but in
            ``auprc``, which ranks all voxels.
        inside: boolean, the same shape: the finding.
        threshold: share of the peak from which the map counts as the finding; 0.5 where none was chosen.
        curve: :func:`overlaps` of both, where they are known.

    Returns:
        ``pointing`` (the :func:`peak` lies inside), ``energy`` (share of the positive map inside), ``iou``,
        ``auprc`` (area under the precision-recall curve over voxels).
    """
    from sklearn.metrics import average_precision_score

    evidence = np.asarray(evidence, np.float64)
    positive = np.clip(evidence, 0, None)
    total = float(positive.sum())
    curve = overlaps(evidence, inside) if curve is None else curve
    index = int(np.argmin(np.abs(THRESHOLDS - (DEFAULT_THRESHOLD if threshold is None else threshold))))
    return {
        "pointing": float(inside[peak(evidence)]) if total > 0 else 0.0,
        "energy": float(positive[inside].sum() / total) if total > 0 else 0.0,
        "iou": float(curve[index]),
        "auprc": float(average_precision_score(inside.ravel(), evidence.ravel())),
    }


def choose_threshold(curves: Sequence[np.ndarray]) -> float:
    """The threshold with the highest mean overlap over validation cases (:func:`overlaps` of each)."""
    return float(THRESHOLDS[int(np.argmax(np.mean(curves, axis=0)))])


def detections(strength: Sequence[float], places: Sequence[tuple[int, ...]], lesions: np.ndarray) -> dict[str, Any]:
    """What FROC needs of one case: strength of each region, which lesion it hits, how many there are.

    A region hits the lesion in which its peak lies; a lesion counts once, by its strongest region.

    Args:
        strength: of each region, its contribution.
        places: :func:`peak` of each region; not needed of a scan without lesions.
        lesions: integer labels of the lesions, 0 outside; a scan without any has false alarms only.
    """
    from monai.metrics import compute_fp_tp_probs_nd

    count = int(lesions.max())
    if not strength:
        return {"false": [], "true": [0.0] * count, "lesions": count}
    if count == 0:
        return {"false": [float(v) for v in strength], "true": [], "lesions": 0}
    false, true, number = compute_fp_tp_probs_nd(np.array(strength, float), np.array(places, int), lesions)
    return {"false": [float(v) for v in np.ravel(false)], "true": [float(v) for v in np.ravel(true)], "lesions": number}


def froc(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sensitivity over false positives a case, and its mean at 1/4, 1/2, 1, 2, 4 and 8 of them (MONAI's FROC)."""
    from monai.metrics import compute_froc_curve_data, compute_froc_score

    # MONAI leaves out the lowest threshold, taking it for the zero of lesions that were missed: so it is always there.
    false = np.array([0.0, *(v for case in found for v in case["false"])])
    true = np.array([v for case in found for v in case["true"]])
    lesions = int(sum(case["lesions"] for case in found))
    a_case, sensitivity = compute_froc_curve_data(false, true, lesions, len(found))
    at = (0.25, 0.5, 1, 2, 4, 8)
    return {
        "lesions": lesions,
        "scans": len(found),
        "scans_without": sum(case["lesions"] == 0 for case in found),
        "score": float(compute_froc_score(a_case, sensitivity, at)),
        "false_positives_a_case": [float(v) for v in a_case],
        "sensitivity": [float(v) for v in sensitivity],
    }

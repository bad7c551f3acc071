"""Patient-wise folds: those of the list, or made with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medattn_core.datalists import Case
from medattn_core.datalists.patients import people_of
from medattn_core.errors import TrainingError


def assign(cases: Sequence[Case], folds: int, seed: int = 0) -> np.ndarray:
    """Fold number of every case ``(N,)``; the images of one patient, however spelt, share one.

    Where every case of the list names a fold, these are taken. Else classes are spread evenly over the folds
    (StratifiedGroupKFold, for which cases of several labels are one class; GroupKFold for values); a case without a
    patient is one by itself.

    Raises:
        TrainingError: fewer than two folds, another number than the list names, or more than there are patients.
    """
    if folds < 2:
        raise TrainingError("bad_argument", f"folds={folds}; at least 2 are needed")
    listed = [case.fold for case in cases]
    if all(fold is not None for fold in listed):
        names = sorted({int(fold) for fold in listed if fold is not None})
        if len(names) != folds:
            raise TrainingError(
                "bad_argument", f"folds={folds}, but the list names {len(names)} ({names}); use that number, or take "
                "the folds out of the list"
            )  # fmt: skip
        return np.array(listed)
    groups = np.array(people_of(cases))
    if (count := len(set(groups.tolist()))) < folds:
        there = "is only 1 patient" if count == 1 else f"are only {count} patients"
        raise TrainingError("bad_argument", f"folds={folds}, but there {there}")
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    labels = np.array([case.label or "" for case in cases])
    spread = all(case.value is None for case in cases)
    most = max(np.unique(labels, return_counts=True)[1])
    if spread and most < folds:
        raise TrainingError("bad_argument", f"folds={folds}, but no label has that many cases; at most {most}")
    number = np.empty(len(cases), int)
    # With about as many patients as folds the first may leave a fold empty; the second fills every one.
    for splitter in (StratifiedGroupKFold, GroupKFold)[0 if spread else 1 :]:
        split = splitter(n_splits=folds, shuffle=True, random_state=seed).split(np.zeros(len(cases)), labels, groups)
        for fold, (_, test) in enumerate(split):
            number[test] = fold
        if len(set(number.tolist())) == folds:
            break
    return number

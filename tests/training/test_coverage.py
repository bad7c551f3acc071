"""Label sets, simulated: they hold the truth of new cases as often as they say, however few cases they are from."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.bundles.trust import Trust
from medattn_core.tasks import TaskSpec
from medattn_core.training.reliability import HeldOut, assess


@pytest.mark.parametrize(("labels", "count", "folds"), [(8, 30, 1), (8, 40, 2), (3, 20, 1)])
def test_label_sets_of_new_cases_hold_the_truth(labels: int, count: int, folds: int) -> None:
    """With temperature and offsets of the same cases they did in 0.86, 0.88 and 0.86."""
    task = TaskSpec(name="t", labels=tuple("abcdefgh"[:labels]), activation="softmax")
    rng = np.random.default_rng(0)

    def drawn(cases: int) -> tuple[np.ndarray, np.ndarray]:
        logits = rng.normal(0, 1.5, (cases, labels))
        truth = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        return 1.8 * logits, np.eye(labels)[truth]

    covered = []
    for _ in range(60):
        parts = []
        for _ in range(folds):
            outputs, targets = drawn(count // folds)
            parts.append(HeldOut(outputs=outputs, targets=targets))
        _, calibration = assess(parts, task)
        trust = Trust.from_calibration(calibration, "simulated")
        outputs, targets = drawn(400)
        offset = np.array([calibration.get("offset", {}).get(label, 0.0) for label in task.labels])
        p = task.probabilities(outputs / calibration["temperature"] + offset)
        sets = [trust.label_set(dict(zip(task.labels, one.tolist(), strict=True))) or () for one in p]
        truth = targets.argmax(axis=1)
        covered.append(np.mean([task.labels[k] in one for k, one in zip(truth, sets, strict=True)]))
    assert np.mean(covered) > 0.89

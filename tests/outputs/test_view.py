"""The result in a few words, above a picture that travels alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medattn_core.bundles.trust import Trust, Undecided
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume
from tests.outputs.conftest import Predict


def test_a_label_that_is_ruled_out_is_no_finding_while_another_is_open(predict: Predict, head_volume: Volume) -> None:
    several = predict(head_volume, threshold=0.5)
    several = replace(several, task=replace(several.task, kind="multilabel"))
    label, unsure = several.task.labels[1], Undecided(present_from=0.11829512, absent_to=0.1442132961)
    first = several.task.labels[0]
    absent = Undecided(present_from=0.5, absent_to=0.4)
    logits = several.logits.copy()
    logits[:] = -9.0
    logits[:2] = np.log(0.3 / 0.7), np.log(0.2 / 0.8)
    several = replace(
        several, head=replace(several.head, bias=several.head.bias + logits - several.logits),
        trust=Trust(coverage=0.9, undecided={first: absent, label: unsure}),
    )  # fmt: skip
    assert (several.label, several.present, several.undecided) == (first, (), (label,))
    assert View.of(several).finding == f"undecided: {label}  ({first} 30.0 %)"

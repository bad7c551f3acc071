"""What a case asks of a model, as numbers."""

from __future__ import annotations

import numpy as np

from medattn_core.datalists.case import Case
from medattn_core.errors import DataListError
from medattn_core.tasks import TaskSpec


def targets_of(case: Case, task: TaskSpec) -> np.ndarray:
    """``(K,)`` target of a case.

    Raises:
        DataListError: the case has no label or value, or a label that the task does not know.
    """
    target = np.zeros(len(task.labels), np.float32)
    if task.kind == "regression":
        if case.value is None:
            raise DataListError("bad_datalist", f"{case.image}: no value; a regression task needs one for each case")
        target[:] = case.value
        return target
    if case.labels is None:
        none = "" if task.kind == "multiclass" and task.activation == "softmax" else ", '-' for none"
        what = "a value, where a label is needed" if case.value is not None else "no label"
        raise DataListError("bad_datalist", f"{case.image}: {what}; accepted: {', '.join(task.labels)}{none}")
    labels = case.labels
    if not labels and task.kind == "multiclass" and task.activation == "softmax":
        raise DataListError(
            "bad_datalist", f"{case.image}: none of the labels, and this task has no such answer; accepted: "
            f"{', '.join(task.labels)}"
        )  # fmt: skip
    for label in labels:
        if label not in task.labels:
            raise DataListError("bad_datalist", f"{case.image}: label {label!r}; accepted: {', '.join(task.labels)}")
        target[task.labels.index(label)] = 1.0
    return target

"""What held-out cases say about a model: measures, temperature, conformal sets, when to abstain, what is unusual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medattn_core.bundles.trust import InputCheck
from medattn_core.metrics.calibration import calibration_error_by_label, expected_calibration_error
from medattn_core.metrics.ranking import macro_auc, ranking
from medattn_core.metrics.regression import regression_metrics
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import (
    COVERAGE,
    FEWEST,
    at_a_bound,
    fit_abstain,
    fit_confidence,
    fit_conformal,
    fit_conformal_value,
    fit_scaling,
    fit_undecided,
    one_sided,
)
from medattn_core.training.data import TrainingData
from medattn_core.training.input_check import fit_input_check
from medattn_core.training.whole_images import features_of

OF_SINGLE_NETWORKS = "of single networks, not of their mean: conservative, not measured"
"""What an ensemble's conformal sets, abstaining and temperature are measured on: no case is new to the whole of it."""

NEVER_ABSTAINS = "no rule to abstain: no threshold halves the errors and still decides half of the cases"

UNRULED = "no rule when {} is undecided: too few held-out cases with it or without it, or less than half decided"


ONE_SIDED = "not calibrated: {}, which every held-out case has, or none"
"""Of the labels of a bundle: nothing tells how probable these are."""

PARTS = 10
"""Parts of the held-out patients, each of which is calibrated on the others for the rules."""

FEW_PATIENTS = (
    "only {} held-out patient{}, whose cases are alike: what is stated for new patients may be kept less often"
)
"""The ranks of the conformal rules count cases: with few patients their coverage is lower than stated."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Outputs ``(N, K)`` of a model (logits before calibration, or values) on cases it has not seen, and the truth.

    ``patients`` ``(N,)`` numbers whom each case is of, the same in all folds; each is by itself by default. ``named``
    says that the list told it.
    """

    outputs: np.ndarray
    targets: np.ndarray
    patients: np.ndarray | None = None
    named: bool = False


def assess(found: Sequence[HeldOut], task: TaskSpec) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and calibration record from one or several held-out folds.

    The calibration error is that of all cases, each calibrated on those of other patients: of one fold each of two
    random halves on the other, of several folds each of :data:`PARTS` random parts on the others. Folds are no such
    parts: their labels may differ, as those of sites do, and the offsets of the others would turn decisions that the
    model gets right.

    Args:
        found: one entry a fold.
        task: of the model.

    Returns:
        Metrics by name; one that the cases cannot show (an AUC without both kinds of cases) is not among them. In
        ``multiclass`` there are ``accuracy``, ``balanced_accuracy`` and, of each label's probability by itself,
        ``ece_by_label``, calibrated like the calibration error ``ece``. In ``multilabel`` the accuracy is
        ``label_accuracy``: the share of right decisions at the threshold (one half by default), averaged over the
        labels and calibrated like the calibration error; beside it ``label_sensitivity`` and ``label_specificity``.
        And the ``calibration`` of a bundle's metadata: probabilities are those of the outputs divided by its
        ``temperature``, with the ``offset`` of each label added. Where the list names patients each rule has their
        number beside that of its cases. Of a slicewise model it has the largest number of
        ``slices`` of a case, one: of whole volumes single slices say nothing.
    """
    metrics, calibration = _assess(found, task)
    if task.slicewise:
        calibration["slices"] = 1  # training takes single slices alone
    _add_patients(calibration, found)
    return metrics, calibration


def _assess(found: Sequence[HeldOut], task: TaskSpec) -> tuple[dict[str, float], dict[str, Any]]:
    """:func:`assess` without regard to how many patients the cases are of."""
    outputs = np.concatenate([f.outputs for f in found])
    targets = np.concatenate([f.targets for f in found])
    if task.kind == "regression":
        residuals = (outputs - targets)[:, 0]
        metrics = regression_metrics(outputs[:, 0], targets[:, 0])
        enough = len(residuals) >= FEWEST
        calibration: dict[str, Any] = {"conformal": fit_conformal_value(residuals)} if enough else {}
        if enough and targets.min() >= 0:  # a size, an age: what is never negative has no interval that is
            calibration["conformal"]["least"] = 0.0
        return metrics, calibration | ({"of": OF_SINGLE_NETWORKS} if enough and len(found) > 1 else {})
    temperature, offset = fit_scaling(outputs, targets, task)
    calibration = {"temperature": temperature}
    if len(outputs) < FEWEST:
        calibration["note"] = f"only {len(outputs)} held-out cases: the temperature is 1, no rule is stated"
    elif at_a_bound(temperature):
        calibration["calibrated"] = False
        calibration["note"] = "the temperature is at its bound: the probabilities are not calibrated, look at the cases"
    if len(outputs) >= FEWEST and one_sided(targets).any():
        calibration["calibrated"] = False
        silent = (label for label, yes in zip(task.labels, one_sided(targets), strict=True) if yes)
        _add_note(calibration, ONE_SIDED.format(", ".join(silent)))
    if len(found) > 1:
        calibration["of"] = OF_SINGLE_NETWORKS
    auc = _auc([HeldOut(outputs=ranking(f.outputs / temperature + offset, task), targets=f.targets) for f in found])
    metrics = {"auc": auc} if np.isfinite(auc) else {}
    # Calibrated where the model itself is, and not where it is not.
    fewest = FEWEST // 2 if len(outputs) >= FEWEST else len(outputs) + 1
    # Of all together, as `medattn evaluate` measures them: that of a few has an error of chance by itself.
    apart = _apart(found, task, 2 if len(found) == 1 else PARTS, fewest)
    if len(outputs) >= FEWEST and offset.any():
        calibration["offset"] = dict(zip(task.labels, offset.tolist(), strict=True))
    if task.kind != "multiclass":
        if len(outputs) >= FEWEST:
            # Scaling keeps the order of a label's cases, and with it the ranks: these may be the cases that it is from.
            probabilities = task.probabilities(outputs / temperature + offset)
            _add_undecided(calibration, probabilities, targets > 0.5, task)
        # One decision a label: a softmax-like choice of the largest would be right wherever there is one label.
        said, truth = apart >= task.said_from, targets > 0.5
        metrics["label_accuracy"] = float((said == truth).mean())
        # Of a rare label the accuracy says little: whether it is found is seen in these.
        for name, of in (("label_sensitivity", truth), ("label_specificity", ~truth)):
            shares = [float((said == truth)[of[:, k], k].mean()) for k in range(of.shape[1]) if of[:, k].any()]
            if shares:
                metrics[name] = float(np.mean(shares))
        metrics["ece"] = expected_calibration_error(apart.ravel(), truth.ravel())
        return metrics, calibration
    right = apart.argmax(axis=1) == targets.argmax(axis=1)
    metrics["accuracy"] = float(right.mean())
    each_label = [right[targets.argmax(axis=1) == k].mean() for k in np.unique(targets.argmax(axis=1))]
    metrics["balanced_accuracy"] = float(np.mean(each_label))
    metrics["ece"] = expected_calibration_error(apart.max(axis=1), right)
    # Too sure of one label and not enough of another: these cancel among the most probable ones.
    metrics["ece_by_label"] = calibration_error_by_label(apart, targets)
    if len(outputs) >= FEWEST:
        probabilities = _apart(found, task)
        calibration["confidence"] = fit_confidence(probabilities, targets, task.labels)
        calibration["conformal"] = fit_conformal(probabilities, targets)
        abstain = fit_abstain(probabilities, targets)
        if abstain is not None:
            decided = _decided_apart(probabilities, targets, _parts(found), abstain["threshold"])
            calibration["abstain"] = {name: abstain[name] for name in ("threshold", "cases")} | decided
        else:
            _add_note(calibration, NEVER_ABSTAINS)
    return metrics, calibration


def _add_undecided(calibration: dict[str, Any], probabilities: np.ndarray, present: np.ndarray, task: TaskSpec) -> None:
    """When each label cannot be decided, to the record; which labels have no such rule, to its note."""
    columns = zip(task.labels, probabilities.T, present.T, strict=True)
    found = {label: fit_undecided(p, yes, task.said_from) for label, p, yes in columns}
    rules = {label: rule for label, rule in found.items() if rule is not None}
    if rules:
        calibration["conformal"] = {"coverage": COVERAGE, "undecided": rules, "cases": len(present)}
    if len(rules) < len(found):
        _add_note(calibration, UNRULED.format(", ".join(label for label in found if label not in rules)))


def _add_patients(calibration: dict[str, Any], found: Sequence[HeldOut]) -> None:
    """How many held-out patients the rules are from, to the record; to its note, where they are few.

    The ranks of the conformal rules count cases, as if each were drawn by itself. Slices of one patient are not.
    """
    rules = [calibration[name] for name in ("confidence", "conformal", "abstain") if name in calibration]
    count = patients_of(found)
    if not rules or count is None:
        return
    for rule in rules:
        rule["patients"] = count
    if count < FEWEST:
        _add_note(calibration, FEW_PATIENTS.format(count, "" if count == 1 else "s"))


def patients_of(found: Sequence[HeldOut]) -> int | None:
    """How many patients the held-out cases are of; None where the list does not tell."""
    numbers = [one.patients for one in found if one.patients is not None]
    if len(numbers) < len(found) or not any(one.named for one in found):
        return None
    return len(np.unique(np.concatenate(numbers)))


def _add_note(calibration: dict[str, Any], text: str) -> None:
    """After those that the record has."""
    calibration["note"] = "; ".join([*([calibration["note"]] if "note" in calibration else []), text])


def _auc(found: Sequence[HeldOut]) -> float:
    """Mean over the folds that can show one; of all cases together where none can."""
    each = [macro_auc(f.outputs, f.targets) for f in found]
    if np.isfinite(each).any():
        return float(np.nanmean(each))
    return macro_auc(np.concatenate([f.outputs for f in found]), np.concatenate([f.targets for f in found]))


def _groups(patients: np.ndarray | None, cases: int, count: int) -> list[np.ndarray]:
    """Boolean ``(cases,)`` of each of so many random parts of the patients, whatever the order of the list; of the
    cases, where all are of one."""
    if patients is None or len(np.unique(patients)) < 2:
        patients = np.arange(cases)
    order = np.random.default_rng(0).permutation(np.unique(patients))
    parts = [np.isin(patients, order[first::count]) for first in range(count)]
    return [part for part in parts if part.any()]


def _cases(one: HeldOut, chosen: np.ndarray) -> HeldOut:
    return HeldOut(outputs=one.outputs[chosen], targets=one.targets[chosen])


def _apart(found: Sequence[HeldOut], task: TaskSpec, count: int = PARTS, fewest: int = 1) -> np.ndarray:
    """Probabilities ``(N, K)`` of all cases, each calibrated on those of other patients, in so many parts.

    Rules for new cases are fitted to these: with the cases that temperature and offsets are from, label sets held the
    truth of new ones too seldom (0.84 for 0.90 with five labels and twenty cases, simulated).
    """
    whole = HeldOut(
        outputs=np.concatenate([one.outputs for one in found]), targets=np.concatenate([one.targets for one in found])
    )
    groups = _parts(found, count)
    parts = [_cases(whole, group) for group in groups]
    probabilities = np.empty(whole.outputs.shape)
    for index, group in enumerate(groups):
        probabilities[group] = _crossed(parts, index, task, fewest)
    return probabilities


def _parts(found: Sequence[HeldOut], count: int = PARTS) -> list[np.ndarray]:
    """Boolean ``(N,)`` of each of so many random parts of the patients of all folds."""
    known = [one.patients for one in found if one.patients is not None]
    cases = sum(len(one.outputs) for one in found)
    return _groups(np.concatenate(known) if len(known) == len(found) else None, cases, count)


def _decided_apart(
    probabilities: np.ndarray, targets: np.ndarray, parts: Sequence[np.ndarray], threshold: float
) -> dict[str, float]:
    """``accuracy`` (where any is) and ``share`` of the decided cases, each part by the threshold of the others.

    A threshold is chosen where the cases that chose it look best: with twenty of them their accuracy was 0.05 higher
    than that of new ones, with a hundred 0.015 (simulated), like this 0.02 and 0.005.

    Args:
        probabilities: ``(N, K)``.
        targets: ``(N, K)`` one-hot.
        parts: boolean ``(N,)`` each.
        threshold: of all cases, where the others have no rule.
    """
    decided = np.zeros(len(probabilities), bool)
    for part in parts:
        rule = fit_abstain(probabilities[~part], targets[~part]) if not part.all() else None
        decided[part] = probabilities[part].max(axis=1) >= (threshold if rule is None else rule["threshold"])
    if not decided.any():
        return {"share": 0.0}
    right = probabilities.argmax(axis=1) == targets.argmax(axis=1)
    return {"accuracy": float(right[decided].mean()), "share": float(decided.mean())}


def _crossed(parts: Sequence[HeldOut], index: int, task: TaskSpec, fewest: int) -> np.ndarray:
    """Probabilities ``(N, K)`` of one part, calibrated on the others."""
    others = [part for i, part in enumerate(parts) if i != index] or list(parts)
    temperature, offset = fit_scaling(
        np.concatenate([part.outputs for part in others]),
        np.concatenate([part.targets for part in others]),
        task,
        fewest,
    )
    return task.probabilities(parts[index].outputs / temperature + offset)


def learn_input_check(network: AttentionCNN, data: TrainingData, held_out: np.ndarray) -> InputCheck | None:
    """What all cases are like, with a limit from the held-out ones where they are enough.

    None for a handful of cases, and where a network that has learnt nothing says the same of all.

    Features of training cases lie closer together than those of new ones, so a limit from them would cry wolf. What the
    held-out cases lack, such as scans of another voxel size, is no stranger for that.
    """
    if len(data) < FEWEST:
        return None
    new = held_out if held_out.sum() >= FEWEST else np.ones(len(data), bool)
    found = fit_input_check(features_of(network, data), data.statistics, groups=data.patients, new=new)
    return found if 0 < found.limit < np.inf else None

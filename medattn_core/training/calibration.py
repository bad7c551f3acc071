"""Calibration and units, folded into the head: the logit stays the sum of the map, now in calibrated units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from medattn_core.bundles.trust import Undecided
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec

FEWEST = 20
"""Held-out cases from which a temperature, a conformal quantile or a rule to abstain is worth stating."""

COVERAGE = 0.9
"""Share of label sets and intervals that is to hold the truth."""

LEAST_DECIDED = 0.5
"""Share of the held-out cases that a model with a rule to abstain still decides: one that seldom answers is none."""

TEMPERATURES = (0.25, 4.0)
"""Bounds of the temperature: what lies beyond is a model that is broken, or held-out cases that are too few to say."""

PRIOR_SPREAD = 0.5
"""Standard deviation of the prior on log T: as good as nothing against hundreds of cases, much against thirty."""

OFFSET_SPREAD = 2.0
"""Standard deviation of the prior on an offset of a logit: a finding of one case in ten drawn as often as the rest is
off by log 9, 2.2."""

LABEL_SPREAD = 1.0
"""Standard deviation of the prior on how the confidence in one label differs from that in the others."""


def negative_log_likelihood(logits: np.ndarray, targets: np.ndarray, task: TaskSpec) -> float:
    """Mean over items: cross-entropy (softmax), or binary cross-entropy averaged over classes (sigmoid)."""
    p = np.clip(task.probabilities(logits), 1e-12, 1 - 1e-12)
    if task.activation == "softmax":
        return float(-(targets * np.log(p)).sum(axis=1).mean())
    return float(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean())


def one_sided(targets: np.ndarray) -> np.ndarray:
    """Which labels, boolean ``(K,)``, every case has or none: such cases do not tell how probable the label is.

    Args:
        targets: ``(N, K)`` one- or multi-hot.
    """
    present = targets > 0.5
    return np.asarray(present.all(axis=0) | ~present.any(axis=0))


def fit_scaling(
    logits: np.ndarray, targets: np.ndarray, task: TaskSpec, fewest: int = FEWEST
) -> tuple[float, np.ndarray]:
    """Temperature and offset of each label on held-out cases: calibrated are ``logits / T + offset``.

    They minimise the likelihood loss (Guo et al. 2017), with a normal prior on log T around zero: cases that happen to
    be told apart without an error would else ask for infinitely sharp probabilities. Drawing the classes equally often
    in training makes a rare one look likelier than it is, which no temperature mends: the offsets do, with a normal
    prior around zero, too. With a softmax this is bias-corrected temperature scaling (Alexandari, Kundaje and
    Shrikumar 2020), with sigmoids Platt's (1999) with one slope for all labels. Probabilities of one label against the
    rest of which the highest is named (``multiclass`` with sigmoids) get none: they are measured against the prior
    that background has.

    A label that is :func:`one_sided` takes no part: its likelihood would have it present, or absent, in everything.
    Its offset is zero, with a softmax the mean of the others, which leaves it where it stands among them.

    Args:
        logits: ``(N, K)`` of cases the model was not trained on.
        targets: ``(N, K)`` one- or multi-hot.
        task: of the model.
        fewest: with fewer cases T is 1, and no offset given; the same where all labels are one-sided.

    Returns:
        T within :data:`TEMPERATURES`, and ``(K,)``.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    logits, labels = np.asarray(logits, np.float64), logits.shape[1]
    told = (~one_sided(targets)).astype(float)
    if len(logits) < fewest or not told.any():
        return 1.0, np.zeros(labels)
    one = task.activation == "softmax"  # a case is one term of the loss, else the mean of its labels' terms
    # Offsets of the labels from those that are free.
    free = np.diag(told) if one or task.kind == "multilabel" else np.zeros((labels, labels))
    if one:
        free[told == 0] = told / told.sum()
    counted = np.ones(1) if one else told
    size = len(logits) * counted.sum()
    low, high = np.log(TEMPERATURES)
    # The likelihood of sigmoids is a mean over labels too, which are not independent cases: N counts cases.
    spread = OFFSET_SPREAD**2 * counted.sum()
    weights = np.array([0.5 / PRIOR_SPREAD**2, *[0.5 / spread] * labels]) / len(logits)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        """With its gradient: differences would take a pass of all cases for each label, and stall among hundreds."""
        divided = logits / np.exp(x[0])
        scaled = divided + free @ x[1:]
        terms = logsumexp(scaled, axis=1, keepdims=True) if one else np.logaddexp(0, scaled)
        value = ((terms * counted).sum() - (targets * scaled * counted).sum()) / size + (weights * x**2).sum()
        slope = (task.probabilities(scaled) - targets) * counted / size
        return float(value), np.array([-(slope * divided).sum(), *(slope.sum(axis=0) @ free)]) + 2 * weights * x

    bounds = [(low, high), *[(None, None)] * labels]
    # The slope of one offset is a label's share of the mean: tolerances that are small beside it.
    ends = {"gtol": 1e-9, "ftol": 1e-14, "maxiter": 1000}
    found = minimize(loss, np.zeros(1 + labels), jac=True, method="L-BFGS-B", bounds=bounds, options=ends).x
    return float(np.exp(found[0])), free @ found[1:]


def at_a_bound(temperature: float) -> bool:
    """Whether a temperature lies at the end of what is searched, so that the true one lies beyond."""
    return not TEMPERATURES[0] * 1.01 < temperature < TEMPERATURES[1] / 1.01


def fit_confidence(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """How often the reported label is right at each probability: top-label calibration (Gupta and Ramdas 2022).

    A logistic curve over the log-odds of the reported probability, with the targets of Platt (1999), and a shift of it
    for each label that is reported, with a normal prior around zero: a rare one is wrong more often than a common one
    that is as probable.

    Args:
        probabilities: ``(N, K)`` calibrated, of cases the model was not trained on.
        targets: ``(N, K)`` one-hot.
        labels: K names.

    Returns:
        ``scale`` and ``offset`` of the log-odds, the further offset of each label (``labels``), and ``cases``. The
        curves never fall.
    """
    from scipy.optimize import minimize

    reported = np.clip(probabilities.max(axis=1), 1e-12, 1 - 1e-12)
    top = np.log(reported / (1 - reported))
    named = probabilities.argmax(axis=1)
    right = named == targets.argmax(axis=1)
    yes, no = int(right.sum()), int((~right).sum())
    wanted = np.where(right, (yes + 1) / (yes + 2), 1 / (no + 2))  # Platt's targets: no certainty from few cases
    weight = 0.5 / (LABEL_SPREAD**2 * len(top))

    def loss(curve: np.ndarray) -> tuple[float, np.ndarray]:
        scale, shift = np.exp(curve[0]), curve[2:]
        z = scale * top + curve[1] + shift[named]
        slope = (1 / (1 + np.exp(-np.clip(z, -700, 700))) - wanted) / len(top)
        of_labels = np.bincount(named, slope, len(shift)) + 2 * weight * shift
        value = float(np.mean(np.logaddexp(0, z) - wanted * z) + weight * (shift**2).sum())
        return value, np.array([scale * (slope * top).sum(), slope.sum(), *of_labels])

    start = np.zeros(2 + len(labels))
    ends = {"gtol": 1e-9, "ftol": 1e-14, "maxiter": 1000}
    bounds = [(-10.0, 10.0), *[(None, None)] * (1 + len(labels))]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=ends).x
    return {
        "scale": float(np.exp(found[0])), "offset": float(found[1]),
        "labels": dict(zip(labels, found[2:].tolist(), strict=True)), "cases": len(top),
    }  # fmt: skip


def fit_conformal(probabilities: np.ndarray, targets: np.ndarray, coverage: float = COVERAGE) -> dict[str, float]:
    """Split-conformal label sets: the quantile of ``1 - p(true label)`` over held-out cases.

    The ``ceil((n + 1) * coverage)``-th smallest score: sets then cover at least that share of exchangeable new cases
    (Vovk 2005; least ambiguous sets of Sadinle, Lei and Wasserman 2019).

    Args:
        probabilities: ``(N, K)`` calibrated, of cases the model was not trained on.
        targets: ``(N, K)`` one-hot.
        coverage: wanted share of sets that hold the truth.
    """
    scores = np.sort(1.0 - (probabilities * targets).sum(axis=1))
    return {"coverage": coverage, "quantile": float(scores[_rank(len(scores), coverage)]), "cases": len(scores)}


def fit_undecided(
    probabilities: np.ndarray, present: np.ndarray, said_from: float, coverage: float = COVERAGE
) -> dict[str, float | int] | None:
    """Between which probabilities of one label neither its presence nor its absence may be stated: split-conformal.

    Presence is credible from the probability that the stated share of the cases *with* the label reaches, absence up to
    the one that this share of those *without* it stays below (each kind by itself, Vovk 2012: a rare finding would else
    pay for the many cases without). See :class:`medattn_core.bundles.trust.Undecided` for what follows.

    Args:
        probabilities: ``(N,)`` calibrated, of cases the model was not trained on.
        present: ``(N,)`` boolean, whether the case has the label.
        said_from: probability from which the label is said.
        coverage: wanted share of each kind that is not decided wrongly.

    Returns:
        ``present_from`` and ``absent_to``, the numbers of cases ``present`` and ``absent``, the ``share`` of them that
        is decided; None with fewer than :data:`FEWEST` of a kind or where less than :data:`LEAST_DECIDED` would be.
    """
    there, absent = np.sort(probabilities[present])[::-1], np.sort(probabilities[~present])
    if min(len(there), len(absent)) < FEWEST:
        return None
    rule = Undecided(
        present_from=float(there[_rank(len(there), coverage)]), absent_to=float(absent[_rank(len(absent), coverage)])
    )
    share = float(np.mean([rule.side(float(p), said_from) is not None for p in probabilities]))
    if share < LEAST_DECIDED:
        return None
    ends = {"present_from": rule.present_from, "absent_to": rule.absent_to}
    return {**ends, "present": len(there), "absent": len(absent), "share": share}


def fit_conformal_value(residuals: np.ndarray, coverage: float = COVERAGE) -> dict[str, float]:
    """Half width of the interval around a predicted value, as :func:`fit_conformal` (absolute residuals ``(N,)``)."""
    scores = np.sort(np.abs(residuals))
    return {"coverage": coverage, "half_width": float(scores[_rank(len(scores), coverage)]), "cases": len(scores)}


def _rank(count: int, coverage: float) -> int:
    """Index of the conformal quantile among sorted scores; the largest where there are too few."""
    return min(count - 1, int(np.ceil((count + 1) * coverage)) - 1)


def fit_abstain(
    probabilities: np.ndarray, targets: np.ndarray, accuracy: float | None = None, share: float = LEAST_DECIDED
) -> dict[str, float | int] | None:
    """The lowest probability of the reported label from which decisions reach an accuracy on held-out cases.

    Args:
        probabilities: ``(N, K)`` calibrated, of cases the model was not trained on.
        targets: ``(N, K)`` one-hot.
        accuracy: to reach; by default half of the errors are to go.
        share: of the cases that must be decided.

    Returns:
        ``threshold``, the ``accuracy`` on the decided cases and their ``share``; None where no threshold reaches both.
    """
    best = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets.argmax(axis=1)
    wanted = 1 - 0.5 * (1 - float(right.mean())) if accuracy is None else accuracy
    order = np.argsort(-best, kind="stable")
    reached = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Only where the next case has another probability may the line be drawn.
    ends = np.append(best[order][1:] < best[order][:-1], True)
    fits = np.flatnonzero((reached >= wanted) & ends)
    if len(fits) == 0 or fits[-1] + 1 < share * len(order):
        return None
    last = int(fits[-1])
    return {
        "threshold": float(best[order[last]]),
        "accuracy": float(reached[last]),
        "share": (last + 1) / len(order),
        "cases": len(order),
    }


def fold_scale(network: AttentionCNN, factor: float, offset: float | np.ndarray = 0.0) -> None:
    """Make the network's output ``factor * output + offset``, map included; in place.

    With ``factor = 1 / T`` it is temperature scaling, with an offset of each label ``(K,)`` :func:`fit_scaling`'s; with
    the targets' standard deviation and mean it turns standardised regression back into the target's unit.
    """
    network.scale_output(factor, torch.as_tensor(offset, dtype=network.bias.dtype))

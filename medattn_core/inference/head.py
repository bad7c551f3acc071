"""The head of a model as numbers: what is needed to ask again without the network.

``z_k = b_k + sum_i a_ki s_ki`` with ``a = softmax(e)`` over the allowed regions and the null token. Taking regions
away renormalises the others, so the logit without a set R is not ``z - c_R`` but
``b + (z - b - sum_R c) / (1 - sum_R a)``; here it is computed from the kept regions' scores, which is the same number
and stays exact when R holds nearly all the attention. float64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medattn_core.errors import PredictionError
from medattn_core.inference.read_only import ReadOnlyArrays


@dataclass(frozen=True, eq=False)
class Pooled:
    """Result of pooling: ``logits (K,)``, ``weights`` and ``contributions (K, *cells)``."""

    logits: np.ndarray
    weights: np.ndarray
    contributions: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Head(ReadOnlyArrays):
    """Scores and values of every region of one image. Its arrays are read-only views of those that are given.

    Attributes:
        scores: ``(K, *cells)`` attention scores.
        values: ``(K, *cells)`` what each region says.
        null_scores: ``(K,)``, ``-inf`` without a null token.
        bias: ``(K,)``.
        allowed: ``(*cells)`` boolean: regions inside the image and the region of interest.
    """

    scores: np.ndarray
    values: np.ndarray
    null_scores: np.ndarray
    bias: np.ndarray
    allowed: np.ndarray

    def pool(self, keep: np.ndarray | None = None) -> Pooled:
        """Pool the allowed regions, or those of them that ``keep`` (*cells) selects.

        Raises:
            PredictionError: nothing is left to look at.
        """
        allowed = self.allowed if keep is None else self.allowed & keep
        if not allowed.any():
            raise PredictionError(
                "empty_mask", "no region of the image is left to look at; give a mask that leaves some of the scan"
            )
        weights = np.zeros(self.scores.shape, np.float64)
        kept = self.scores[:, allowed].astype(np.float64)
        top = np.maximum(kept.max(axis=1), self.null_scores)
        mass = np.exp(kept - top[:, None])
        weights[:, allowed] = mass / (mass.sum(axis=1) + np.exp(self.null_scores - top))[:, None]
        contributions = weights * self.values
        return Pooled(self.bias + contributions.reshape(len(self.bias), -1).sum(axis=1), weights, contributions)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """Several models' heads on the same cells, asked as one: means of their logits, weights and contributions.

    The mean of sums is the sum of means, so the contributions still add up to the logit; a question "without this" is
    answered by each member exactly and then averaged.

    Attributes:
        members: heads of equal shape.
    """

    members: tuple[Head, ...]

    @property
    def bias(self) -> np.ndarray:
        """``(K,)``."""
        return np.mean([head.bias for head in self.members], axis=0)

    @property
    def allowed(self) -> np.ndarray:
        """``(*cells)``; the same for all members."""
        return self.members[0].allowed

    def pool(self, keep: np.ndarray | None = None) -> Pooled:
        """As :meth:`Head.pool`.

        Raises:
            PredictionError: nothing is left to look at.
        """
        pooled = [head.pool(keep) for head in self.members]
        return Pooled(
            np.mean([p.logits for p in pooled], axis=0),
            np.mean([p.weights for p in pooled], axis=0),
            np.mean([p.contributions for p in pooled], axis=0),
        )

"""What a bundle knows of its own reliability, read from its metadata and applied with NumPy alone.

- Conformal sets: every label whose probability is at least ``1 - quantile`` (split-conformal, least ambiguous sets:
  Sadinle, Lei and Wasserman 2019). The set holds the truth with the stated coverage, if the scan is like those it was
  fitted on. It may be empty: then no label is credible at that coverage. For a quantity, value +- half width.
- Where each label is judged by itself: between two probabilities it is undecided whether it is there (split-conformal,
  for cases with and without the label apart: Vovk 2012).
- Abstaining: below a probability chosen on validation, no label is reported as decided.
- Input check: distance of the scan's features from the training scans', and ranges of its intensities and geometry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medattn_core.errors import BundleError, Notice


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """When a label that is judged by itself is undecided.

    Attributes:
        present_from: lowest probability at which its presence is credible.
        absent_to: highest probability at which its absence is credible.
    """

    present_from: float
    absent_to: float

    def side(self, probability: float, said_from: float) -> bool | None:
        """Whether the label is there; None where it is undecided.

        The threshold decides, unless the other is still credible. So of the cases with the label the stated share is
        not called free of it, and of those without it that share is not called positive, whatever the threshold.

        Args:
            probability: of the label.
            said_from: threshold from which it is said.
        """
        if probability >= said_from:
            return None if probability <= self.absent_to else True
        return None if probability >= self.present_from else False

    def between(self, said_from: float) -> tuple[float, float] | None:
        """From which to which probability :meth:`side` leaves the label open; None where it always decides."""
        if self.present_from >= said_from > self.absent_to:
            return None
        return min(self.present_from, said_from), max(self.absent_to, said_from)


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Rules of one bundle; None where it has none.

    Attributes:
        coverage: stated coverage of label sets or intervals.
        quantile: of the conformity scores ``1 - p(true label)``.
        undecided: label to when it is undecided (``multilabel``).
        half_width: of the interval around a value, in its unit.
        least: value that the interval does not begin below, unless the predicted value does; None for no such bound.
        abstain_below: probability of the reported label below which the model does not decide.
        confidence_scale, confidence_offset: of the log-odds, see :meth:`confidence`.
        confidence_labels: further offset where that label is reported.
        slices: largest number of slices of a case that the rules are from, of a model that looks slice by slice; None
            where it is not known.
        calibrated: whether the temperature of the probabilities was fitted to cases that the model had not seen.
    """

    coverage: float | None = None
    quantile: float | None = None
    undecided: Mapping[str, Undecided] = field(default_factory=dict)
    half_width: float | None = None
    least: float | None = None
    abstain_below: float | None = None
    confidence_scale: float | None = None
    confidence_offset: float = 0.0
    confidence_labels: Mapping[str, float] = field(default_factory=dict)
    slices: int | None = None
    calibrated: bool = False

    @classmethod
    def from_calibration(cls, data: Mapping[str, Any], where: str) -> Trust:
        """Read the ``calibration`` part of a bundle's metadata.

        Raises:
            BundleError: ``bad_bundle``: a number is missing, no number, or out of its range.
        """
        conformal, abstain = _part(data, "conformal", where), _part(data, "abstain", where)
        confidence = _part(data, "confidence", where)
        of_labels = _part(confidence, "labels", where)

        def number(part: Mapping[str, Any], key: str, top: float, low: float = 0.0) -> float | None:
            value = part.get(key)
            if value is None:
                return None
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= top:
                raise BundleError(
                    "bad_bundle", f"{where}: calibration {key} is {value!r}; {low:g} to {top:g} is accepted"
                )
            return float(value)

        undecided = {}
        for label, one in _part(conformal, "undecided", where).items():
            ends = _part({label: one}, label, where)
            present_from, absent_to = (number(ends, key, 1.0) for key in ("present_from", "absent_to"))
            if present_from is None or absent_to is None:
                raise BundleError(
                    "bad_bundle", f"{where}: calibration undecided of {label!r} lacks present_from or absent_to"
                )
            undecided[str(label)] = Undecided(present_from=present_from, absent_to=absent_to)
        if undecided and number(conformal, "coverage", 1.0) is None:
            raise BundleError(
                "bad_bundle", f"{where}: calibration undecided without the coverage that it was fitted for"
            )
        return cls(
            undecided=undecided,
            coverage=number(conformal, "coverage", 1.0),
            quantile=number(conformal, "quantile", 1.0),
            half_width=number(conformal, "half_width", 1e300),
            least=number(conformal, "least", 1e300, -1e300),
            abstain_below=number(abstain, "threshold", 1.0),
            confidence_scale=number(confidence, "scale", 1e6),
            confidence_offset=number(confidence, "offset", 1e6, -1e6) or 0.0,
            confidence_labels={label: number(of_labels, label, 1e6, -1e6) or 0.0 for label in of_labels},
            slices=_slices(data, where),
            # Exactly one is what a training leaves where the cases are too few; bundles of before do not say more.
            calibrated=data.get("temperature", 1.0) != 1.0 and data.get("calibrated") is not False,
        )

    def confidence(self, probability: float, label: str) -> float | None:
        """How often this label, reported with this probability, is the right one; None without a rule.

        A probability of one label against the rest is another number: with two lukewarm labels it is low for both,
        and yet the warmer one is nearly always right.
        """
        if self.confidence_scale is None:
            return None
        p = min(max(probability, 1e-12), 1 - 1e-12)
        logit = self.confidence_scale * np.log(p / (1 - p)) + self.confidence_offset
        logit += self.confidence_labels.get(label, 0.0)
        return float(0.5 * (1 + np.tanh(0.5 * logit)))

    def label_set(self, probabilities: Mapping[str, float]) -> tuple[str, ...] | None:
        """Labels that are credible at :attr:`coverage`, most probable first; None without a rule."""
        if self.quantile is None or not probabilities:
            return None
        ranked = sorted(probabilities.items(), key=lambda item: -item[1])
        return tuple(label for label, p in ranked if p >= 1 - self.quantile)

    def interval(self, value: float | None) -> tuple[float, float] | None:
        """Where the true quantity lies with :attr:`coverage`; None without a rule."""
        if self.half_width is None or value is None:
            return None
        low = value - self.half_width
        if self.least is not None and value >= self.least:
            low = max(low, self.least)
        return low, value + self.half_width

    def abstains(self, probability: float) -> bool:
        """Whether the model does not decide at this probability of the reported label."""
        return self.abstain_below is not None and probability < self.abstain_below


@dataclass(frozen=True, kw_only=True)
class InputCheck:
    """What the training scans were like.

    Attributes:
        mean: ``(F,)`` of the training scans' feature vectors.
        precision: ``(F, F)`` inverse covariance.
        limit: Mahalanobis distance above which a scan is unlike the training scans.
        ranges: name of a statistic to its accepted (lowest, highest).
        quantile: share of training scans within the limit.
    """

    mean: np.ndarray
    precision: np.ndarray
    limit: float
    ranges: dict[str, tuple[float, float]]
    quantile: float

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> InputCheck:
        """Read :meth:`to_dict` data.

        Raises:
            BundleError: ``bad_bundle``.
        """
        try:
            mean = np.array(data["mean"], np.float64)
            precision = np.array(data["precision"], np.float64)
            ranges = {str(k): (float(low), float(high)) for k, (low, high) in dict(data["ranges"]).items()}
            check = cls(mean=mean, precision=precision, limit=float(data["limit"]), ranges=ranges,
                        quantile=float(data["quantile"]))  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BundleError("bad_bundle", f"{where}: invalid input check ({error})") from error
        if mean.ndim != 1 or precision.shape != (len(mean), len(mean)):
            raise BundleError("bad_bundle", f"{where}: input check with mean {mean.shape}, matrix {precision.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(precision).all() and 0 < check.limit < np.inf):
            needed = "finite numbers and a positive limit are needed"
            raise BundleError("bad_bundle", f"{where}: input check with limit {check.limit:g}; {needed}")
        return check

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, five digits."""
        short = np.vectorize(lambda x: float(f"{x:.5g}"), otypes=[float])
        return {
            "mean": short(self.mean).tolist(),
            "precision": short(self.precision).tolist(),
            "limit": self.limit,
            "ranges": {name: list(pair) for name, pair in self.ranges.items()},
            "quantile": self.quantile,
        }

    def distance(self, features: np.ndarray) -> float:
        """Mahalanobis distance of a feature vector ``(F,)`` from the training scans."""
        gap = np.asarray(features, np.float64) - self.mean
        return float(np.sqrt(max(0.0, gap @ self.precision @ gap)))

    def notice(self, features: np.ndarray, statistics: Mapping[str, float]) -> Notice | None:
        """What is unusual about a scan, in words; None where nothing is.

        Args:
            features: ``(F,)``, see :func:`medattn_core.networks.attention.attended_features`.
            statistics: of :func:`medattn_core.transforms.statistics.image_statistics`.
        """
        strange = []
        distance = self.distance(features) if len(features) == len(self.mean) else np.nan
        if not np.isfinite(distance):
            return None
        if distance > self.limit:
            strange.append(f"it looks different ({distance / self.limit:.1f} times the usual limit)")
        for name, (low, high) in self.ranges.items():
            value = statistics.get(name)
            rounding = 1e-5 * max(abs(low), abs(high), 0.1)  # a range may be a single value
            if value is not None and not low - rounding <= value <= high + rounding:
                strange.append(f"{name} is {value:.3g}, {low:.3g} to {high:.3g} is usual")
        if not strange:
            return None
        return Notice(
            "unlike_training",
            f"the scan is unlike those the model was trained on: {'; '.join(strange)}; do not rely on it",
        )


def _slices(data: Mapping[str, Any], where: str) -> int | None:
    value = data.get("slices")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BundleError("bad_bundle", f"{where}: calibration slices is {value!r}; a whole number from 1 is accepted")
    return value


def _part(data: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    part = data.get(name, {})
    if not isinstance(part, Mapping):
        raise BundleError("bad_bundle", f"{where}: calibration {name} is no object")
    return part

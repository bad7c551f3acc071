"""TaskSpec: what a model takes and what it gives. Data, not code: it lives in a bundle's metadata.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any

import numpy as np

from medattn_core.errors import TaskError
from medattn_core.values import comma_hint, comma_hint_of, is_number

KINDS = ("multiclass", "multilabel", "regression")
ACTIVATIONS = ("softmax", "sigmoid", "identity")
INTENSITY_RULES = ("foreground_mean", "percentile", "window")


@dataclass(frozen=True, kw_only=True)
class IntensityRule:
    """How intensities become network input; the statistics come from the image itself. ``str()`` is for a person.

    Attributes:
        rule: ``foreground_mean`` divides by the mean of the foreground, for MRI, whose units are arbitrary.
            ``percentile`` maps two percentiles of the image to 0 and 1, ``window`` two stored values, such as HU.
            Values outside are clipped.
        lower: the percentile or stored value that becomes 0. For ``foreground_mean`` the share of the 99.5th
            percentile above which a voxel is foreground; 0 then stays 0.
        upper: the percentile or stored value that becomes 1. For ``foreground_mean`` the multiple of the mean at which
            values are clipped.

    Raises:
        TaskError: unknown rule or ``upper <= lower``.
    """

    rule: str = "foreground_mean"
    lower: float = 0.1
    upper: float = 5.0

    def __post_init__(self) -> None:
        if self.rule not in INTENSITY_RULES:
            raise TaskError("bad_task", f"intensity rule {self.rule!r}; accepted: {', '.join(INTENSITY_RULES)}")
        for name in ("lower", "upper"):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool):
                raise TaskError("bad_task", f"intensity {name} {value!r}{comma_hint_of(value)}; a number is needed")
        if self.rule == "percentile" and not 0 <= self.lower <= self.upper <= 100:
            raise TaskError("bad_task", f"intensity percentiles {self.lower}, {self.upper}; accepted: 0 to 100")
        if not self.upper > self.lower:
            raise TaskError("bad_task", f"intensity bounds {self.lower}, {self.upper}: upper must exceed lower")

    @property
    def top(self) -> float:
        """Largest value that the rule gives; the smallest is zero."""
        return self.upper if self.rule == "foreground_mean" else 1.0

    def __str__(self) -> str:
        return f"{self.rule} {self.lower:g} to {self.upper:g}"


def activated(logits: np.ndarray, activation: str) -> np.ndarray:
    """What an activation (one of ``ACTIVATIONS``) makes of logits ``(..., K)``, float64."""
    logits = np.asarray(logits, dtype=np.float64)
    if activation == "softmax":
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)
    if activation == "sigmoid":
        return 0.5 * (1.0 + np.tanh(0.5 * logits))  # the overflow-free form of the logistic function
    return logits


def listed(name: str, value: Any, *, of: str = "texts", where: str = "task settings") -> tuple[Any, ...]:
    """A list of a task as a tuple. One name is a list of one; as a sequence it would be its letters.

    Raises:
        TaskError: it is no list.
    """
    if isinstance(value, str) and of == "texts":
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, (str, Mapping, Set)):
        raise TaskError("bad_task", f"{where}: {name} {value!r}; a list of {of} is needed")
    return tuple(value)


def _unknown(key: Any, known: Sequence[str]) -> str:
    return f"unknown key {key!r}{comma_hint(key)}; accepted: {', '.join(known)}"


def _rule(given: Any) -> Any:
    """The intensity rule of an object of settings; what is none is left to the check of the task."""
    if not isinstance(given, dict):
        return given
    known = [one.name for one in fields(IntensityRule)]
    unknown = sorted(set(given) - set(known), key=str)
    if unknown:
        raise TaskError("bad_task", f"intensity: {_unknown(unknown[0], known)}")
    return IntensityRule(**given)


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What a model takes (modality, spacing, size, intensity) and gives (labels or a quantity with a unit).

    Attributes:
        name: identifier, such as ``brain_tumor_t1ce``.
        description: one line for human readers.
        kind: ``multiclass`` (one label is reported), ``multilabel`` (each label independently), ``regression``.
        activation: from logit to probability: ``softmax``, ``sigmoid`` (one-vs-rest), ``identity``.
        labels: name of each output; in regression the name of the quantity.
        unit: unit of a regression target, such as ``mm3``.
        modality: accepted DICOM modality codes; empty accepts all.
        channels: name of each image of a case, in order; the first defines the grid.
        spatial_dims: 2 or 3, the dimensions of the convolutions.
        slicewise: process each slice of a volume separately and pool all of them (needs ``spatial_dims`` 2).
        spacing: voxel spacing of the model grid in mm, two in-plane values (2D) or three in R-A-S order (3D).
        slice_spacing: smallest slice distance in mm that a slicewise model is given; thinner slices are averaged.
        size: model grid, in pixels along each axis: larger images are cropped to their centre, smaller ones padded. In
            a bundle None takes the whole image, whatever its size.
        field_of_view: length of the longer side in mm, assumed for pictures without pixel size.
        intensity: the intensity rule of all channels, or one per channel in their order.
        threshold: probability below which the most probable of several labels is not reported, with the warning
            ``below_threshold``; without a threshold it always is. In ``multilabel``, and with a single label, the
            probability from which a label is reported (one half by default).
    """

    name: str
    description: str = ""
    kind: str = "multiclass"
    activation: str = "softmax"
    labels: tuple[str, ...] = ()
    unit: str = ""
    modality: tuple[str, ...] = ()
    channels: tuple[str, ...] = ("image",)
    spatial_dims: int = 3
    slicewise: bool = False
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    slice_spacing: float = 5.0
    size: tuple[int, ...] | None = None
    field_of_view: float | None = None
    intensity: IntensityRule | tuple[IntensityRule, ...] = field(default_factory=IntensityRule)
    threshold: float | None = None

    def __post_init__(self) -> None:
        where = f"task {self.name!r}"
        for name, of in (("labels", "texts"), ("modality", "texts"), ("channels", "texts"), ("spacing", "numbers")):
            object.__setattr__(self, name, listed(name, getattr(self, name), of=of, where=where))
        if is_number(self.spatial_dims) and self.spatial_dims in (2, 3):
            object.__setattr__(self, "spatial_dims", int(self.spatial_dims))  # 2.0 counts nothing
        for name in ("unit", "description"):
            if getattr(self, name) is None:  # what JSON and YAML write for nothing
                object.__setattr__(self, name, "")
        # Bundles of before this was looked at may hold nothing or a number, and no picture is 0 mm wide.
        if self.slicewise is None or (is_number(self.slicewise) and self.slicewise in (0, 1)):
            object.__setattr__(self, "slicewise", bool(self.slicewise))
        if is_number(self.field_of_view) and self.field_of_view == 0:
            object.__setattr__(self, "field_of_view", None)
        # numpy's numbers, of a header for example, are no JSON.
        plain = tuple(float(s) if is_number(s) and not isinstance(s, (int, float)) else s for s in self.spacing)
        object.__setattr__(self, "spacing", plain)
        if self.size is not None:
            size = listed("size", self.size, of="whole numbers", where=where)
            if not all(is_number(n) and float(n).is_integer() for n in size):
                raise TaskError("bad_task", f"task {self.name!r}: size {self.size!r} must be whole numbers")
            object.__setattr__(self, "size", tuple(int(n) for n in size))
        given: Any = self.intensity
        several = isinstance(given, (list, tuple))
        rules = tuple(_rule(one) for one in (given if several else [given]))
        object.__setattr__(self, "intensity", rules if several else rules[0])
        self._check()

    def _check(self) -> None:
        def need(ok: bool, message: str) -> None:
            if not ok:
                raise TaskError("bad_task", f"task {self.name!r}: {message}")

        need(
            isinstance(self.name, str) and bool(self.name),
            "name must be a text that is not empty; a training takes that of its output folder, so give one with a "
            "name (not '.'), or `name` in the task",
        )
        need(isinstance(self.description, str), f"description {self.description!r} must be a text")
        need(isinstance(self.slicewise, bool), f"slicewise {self.slicewise!r} must be true or false, without quotes")
        need(isinstance(self.unit, str), f"unit {self.unit!r} must be a text, such as 'mm3'")
        need(
            all(isinstance(rule, IntensityRule) for rule in self.intensities),
            f"intensity {self.intensity!r}; accepted: an object of rule, lower and upper, or a list of one a channel",
        )
        need(
            len(self.intensities) == len(self.channels),
            f"intensity has {len(self.intensities)} rules for the channels {', '.join(map(str, self.channels))}; "
            "accepted: one for all, or a list of one a channel",
        )
        for name in ("labels", "modality", "channels"):
            named = getattr(self, name)
            need(
                all(isinstance(one, str) and one for one in named),
                f"{name} {list(named)} must be texts; numbers, yes and no are texts in quotes",
            )
        for name in ("threshold", "field_of_view"):
            value = getattr(self, name)
            number = is_number(value) and float(value) >= 0
            need(value is None or number, f"{name} {value!r}{comma_hint_of(value)} must be a number, not negative")
        top = self.kind == "regression" or self.threshold is None or self.threshold <= 1
        need(top, f"threshold {self.threshold!r}; it is a probability, 0 to 1")
        need(self.kind in KINDS, f"kind {self.kind!r}; accepted: {', '.join(KINDS)}")
        need(self.activation in ACTIVATIONS, f"activation {self.activation!r}; accepted: {', '.join(ACTIVATIONS)}")
        need((self.kind == "regression") == (self.activation == "identity"), "identity goes with regression only")
        need(len(self.labels) > 0, "labels are empty; name each output")
        need(self.kind != "regression" or len(self.labels) == 1, "regression has one quantity")
        need(len(set(self.labels)) == len(self.labels), f"labels repeat: {list(self.labels)}")
        need(self.kind != "multilabel" or self.activation == "sigmoid", "multilabel wants activation 'sigmoid'")
        need(self.activation != "softmax" or len(self.labels) > 1, "softmax wants at least two labels")
        need(len(self.channels) > 0, "channels are empty; name each image of a case")
        need(len(set(self.channels)) == len(self.channels), f"channels repeat: {list(self.channels)}")
        need(self.spatial_dims in (2, 3), f"spatial_dims {self.spatial_dims}; accepted: 2, 3")
        need(not self.slicewise or self.spatial_dims == 2, "slicewise wants spatial_dims 2")
        need(len(self.spacing) == self.spatial_dims, f"spacing {self.spacing} has not {self.spatial_dims} values")
        positive = all(is_number(s) and s > 0 for s in self.spacing)
        need(positive, f"spacing {self.spacing}{comma_hint_of(self.spacing)} must be positive numbers")
        thin = self.slice_spacing
        need(is_number(thin) and thin > 0, f"slice_spacing {thin!r}{comma_hint_of(thin)} must be positive")
        if self.size is not None:
            need(len(self.size) == self.spatial_dims, f"size {self.size} has not {self.spatial_dims} values")
            need(all(n > 0 for n in self.size), f"size {self.size} must be positive")

    @property
    def intensities(self) -> tuple[IntensityRule, ...]:
        """The intensity rule of each channel."""
        rules = self.intensity
        return rules if isinstance(rules, tuple) else (rules,) * len(self.channels)

    @property
    def said_from(self) -> float:
        """Probability from which a label is said where each is judged by itself: ``threshold``, or one half."""
        return 0.5 if self.threshold is None else self.threshold

    @property
    def takes_one(self) -> bool:
        """Whether one label is said of several; else each is judged by itself."""
        return self.kind == "multiclass" and len(self.labels) > 1

    def said(
        self,
        probabilities: np.ndarray,
        *,
        best: np.ndarray | int | None = None,
        least: np.ndarray | float | None = None,
    ) -> np.ndarray:
        """Which labels are said, ``(..., K)`` boolean; all False where none of them is. A quantity always is.

        Of several labels, one of which is said, the most probable, unless the task has a threshold that it stays below:
        whatever the activation. Labels that are judged by themselves from the threshold on, one half without one.

        Args:
            probabilities: ``(..., K)``.
            best: ``(...)``, index of the label to say in place of the most probable.
            least: in place of the task's threshold; where labels are judged by themselves also ``(K,)``.
        """
        probabilities = np.asarray(probabilities)
        if self.kind == "regression":
            return np.ones(probabilities.shape, bool)
        if not self.takes_one:
            return np.asarray(probabilities >= (self.said_from if least is None else least))
        said = np.eye(len(self.labels), dtype=bool)[probabilities.argmax(axis=-1) if best is None else best]
        least = self.threshold if least is None else least
        return said if least is None else said & (probabilities.max(axis=-1, keepdims=True) >= least)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities ``(..., K)`` of calibrated logits ``(..., K)``; regression values pass through."""
        return activated(logits, self.activation)

    def index(self, label: str) -> int:
        """Output index of a label.

        Raises:
            TaskError: no such label.
        """
        if not isinstance(label, str) or label not in self.labels:
            raise TaskError("unknown_label", f"label {label!r}; {self.name} has: {', '.join(self.labels)}")
        return self.labels.index(label)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; :meth:`from_dict` reads it back."""
        data = asdict(self)
        for name in ("labels", "modality", "channels", "spacing", "size", "intensity"):
            if isinstance(data[name], tuple):
                data[name] = list(data[name])
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TaskSpec:
        """Read :meth:`to_dict` data.

        Raises:
            TaskError: unknown or missing keys, invalid values.
        """
        known = [one.name for one in fields(cls)]
        unknown = sorted(set(data) - set(known), key=str)
        if unknown:
            raise TaskError("bad_task", f"task specification: {_unknown(unknown[0], known)}")
        try:
            return cls(**data)
        except TypeError as error:
            raise TaskError("bad_task", f"task specification: {error}") from error

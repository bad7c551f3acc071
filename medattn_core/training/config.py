"""Settings of a training run: data, written to the bundle beside the weights."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from medattn_core.arguments import shown
from medattn_core.bundles.trust import Trust
from medattn_core.errors import BundleError, TrainingError, missing_package
from medattn_core.ranges import SEEDS, Range
from medattn_core.tasks import TaskSpec
from medattn_core.training.losses import LossWeights
from medattn_core.training.precision import fast_bf16
from medattn_core.training.typed import check_fields, plain
from medattn_core.transforms.augment import Augmentation
from medattn_core.values import comma_hint, comma_hint_of, is_json_number, is_number

PRECISIONS = ("auto", "bf16", "fp32")

PARTS = ("task", "network", "training", "bundle")
"""Of a configuration."""

ZOOM_POWERS = {0: "no matter of size", 1: "a length", 2: "an area", 3: "a volume"}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Hyperparameters.

    Attributes:
        epochs: number of epochs; one epoch takes as many items as the training list has.
        batch_size: items per step; with several processes a multiple of their number.
        learning_rate: peak learning rate, at the end of the warm-up; from there it decays along half a cosine to zero.
        weight_decay: of AdamW; not applied to norms and biases.
        warmup_epochs: epochs (fractions allowed) over which the learning rate rises linearly; at most half of all.
        ema_decay: share kept at each step in the exponential moving average of the weights, which is what is saved; 0
            switches averaging off.
        balanced: draw each class equally often.
        class_weights: weight of each class in the loss, in the order of the task's labels; empty for none.
        focal_gamma: exponent of the focal loss; 0 gives the plain loss.
        patience: early stopping: epochs without a better validation metric after which training stops and the best
            weights are kept; 0 never stops early. The metric is the macro AUC, or the mean absolute error in
            regression. Needs held-out cases.
        start_size: share of the full size at which training starts; the size grows evenly and is full for the last
            30 % of the epochs. Small images take less time, and coarse structure is learnt first (Tan and Le 2021,
            arXiv 2104.00298). 1 uses the full size throughout.
        initial_weights: what the network starts from: ``imagenet`` (encoders ``efficientnet-lite...``, 2D), a bundle
            (shipped name or folder), or empty for random weights.
        zoom_power: how the value of a regression scales when the image is zoomed: 3 for a volume, 2 for an area, 1 for
            a length, 0 for what does not depend on size, such as an age.
        seed: seed of everything random; each fold adds its number, so with held-out cases the highest 65536 values are
            refused.
        precision: ``fp32``, or ``bf16`` (autocast): twice as fast on processors that support it, slow on others.
            ``auto`` is ``bf16`` where it is fast.
        augmentation: strengths of the random changes to the training images.
        losses: weights of the parts of the loss.

    Raises:
        TrainingError: ``bad_config``: a value of another type than the attribute's, or outside of its range. Numbers of
            numpy are numbers, ``8.0`` is a whole one.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "epochs": Range(low=1),
        "batch_size": Range(low=1),
        "learning_rate": Range(low=0, above=True),
        "weight_decay": Range(low=0),
        "warmup_epochs": Range(low=0),
        "ema_decay": Range(low=0, high=1, below=True),
        "focal_gamma": Range(low=0),
        "patience": Range(low=0),
        "start_size": Range(low=0, high=1, above=True),
        "seed": Range(low=0, high=SEEDS),
    }

    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    ema_decay: float = 0.998
    balanced: bool = True
    class_weights: tuple[float, ...] = ()
    focal_gamma: float = 0.0
    patience: int = 0
    start_size: float = 1.0
    initial_weights: str = ""
    zoom_power: int = 0
    seed: int = 0
    precision: str = "auto"
    augmentation: Augmentation = field(default_factory=Augmentation)
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        for name, kind in (("augmentation", Augmentation), ("losses", LossWeights)):
            value, where = getattr(self, name), f"training settings, {name}"
            if isinstance(value, dict):
                object.__setattr__(self, name, kind(**check_fields(kind, value, where)))
            elif isinstance(value, kind):
                object.__setattr__(self, name, replace(value, **check_fields(type(value), vars(value), where)))
            else:
                raise TrainingError("bad_config", f"{name}={value!r}; an object of settings is needed")
        for name, value in check_fields(type(self), vars(self), "training settings").items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "class_weights", tuple(float(w) for w in self.class_weights))
        if any(not w > 0 for w in self.class_weights):
            raise TrainingError("bad_config", f"class_weights={list(self.class_weights)}; each must be positive")
        for name, accepted in self.ranges.items():
            if getattr(self, name) not in accepted:
                raise TrainingError("bad_config", f"{name}={getattr(self, name)!r}; accepted: {accepted}")
        if self.precision not in PRECISIONS:
            raise TrainingError("bad_config", f"precision={self.precision!r}; accepted: {', '.join(PRECISIONS)}")
        if type(self.zoom_power) is not int or self.zoom_power not in ZOOM_POWERS:
            powers = ", ".join(f"{power} ({what})" for power, what in ZOOM_POWERS.items())
            raise TrainingError("bad_config", f"zoom_power={self.zoom_power!r}; accepted: {powers}")

    def full_size_from(self, size: tuple[int, ...], coarsest: int, evidence: int) -> int:
        """The first epoch, counted from 0, of images of the whole size; the number of epochs where none is."""
        grown = (self.size_at(epoch, size, coarsest, evidence) for epoch in range(self.epochs))
        return next((epoch for epoch, found in enumerate(grown) if found == tuple(size)), self.epochs)

    def growth(self, size: tuple[int, ...], coarsest: int, evidence: int) -> str:
        """The images of the first epoch and from when they are whole, in a line for a person."""
        whole = self.full_size_from(size, coarsest, evidence)
        sizes = (self.size_at(epoch, size, coarsest, evidence) for epoch in (0, self.epochs - 1))
        first, last, large = (" x ".join(map(str, one)) for one in (*sizes, size))
        start = f"start_size {self.start_size:g}"
        if whole == 0:
            return f"images: {large} from the first epoch, to which {start} is rounded up"
        if whole == self.epochs:
            return f"images: {first} at first, {last} at the end ({start}): too few epochs for {large}"
        return f"images: {first} at first, {large} from epoch {whole + 1} on ({start})"

    def for_device(self, device: str) -> TrainingConfig:
        """The same with ``auto`` settled for a device."""
        return self if self.precision != "auto" else replace(self, precision="bf16" if fast_bf16(device) else "fp32")

    def size_at(self, epoch: int, size: tuple[int, ...], coarsest: int, evidence: int) -> tuple[int, ...]:
        """Size of the images in an epoch, counted from 0.

        One share of all axes, or images would be squeezed out of shape: the longest is a multiple of the coarsest
        stride, the others are the nearest multiple of an evidence cell, or of eight pixels; so is the longest where an
        axis would have fewer than three of the coarsest stride, on which a convolution sees more padding than image.

        Args:
            epoch: counted from 0.
            size: the whole one.
            coarsest, evidence: strides of the network.
        """
        done = min(1.0, epoch / max(1.0, 0.7 * self.epochs))
        share = self.start_size + (1 - self.start_size) * done
        if share >= 1:
            return tuple(size)
        longest, least, cell = max(size), 3 * coarsest, min(coarsest, max(8, evidence))
        floor = min(1.0, least / min(size))
        grown = round(longest * share / coarsest) * coarsest
        if grown < longest * floor:
            grown = math.ceil(longest * floor / cell) * cell
        share = grown / longest
        return tuple(min(n, max(least, round(n * share / cell) * cell)) if share < 1 else n for n in size)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    def same_as(self, stored: Any) -> bool:
        """Whether :meth:`to_dict` data, also of a version that lacked some of the keys, are these settings."""
        try:
            return isinstance(stored, dict) and TrainingConfig.from_dict(stored) == self
        except (TrainingError, TypeError, ValueError):
            return False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrainingConfig:
        """Read :meth:`to_dict` data.

        Raises:
            TrainingError: unknown keys or invalid values.
        """
        return cls(**check_fields(cls, data, "training settings"))


def differing(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Keys of settings whose values are not what they were; none where no settings were noted."""
    return [key for key in now if before.get(key) != now[key]] if isinstance(before, dict) else []


def read_config(config: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A configuration with the optional parts ``task``, ``network``, ``training`` and ``bundle``.

    Args:
        config: a file, JSON or YAML; or a dictionary, whose parts may also be a :class:`TaskSpec` and a
            :class:`TrainingConfig`. These name all that they hold, so that of what they say nothing is planned.

    Raises:
        TrainingError: neither JSON nor YAML, other parts than these, or a grid of the task that cannot be.
    """
    if not isinstance(config, (str, os.PathLike, Mapping)):
        raise TrainingError(
            "bad_config",
            f"config: it is of type {type(config).__name__}; a file, or a dictionary with the parts "
            f"{', '.join(PARTS)} is needed, such as {{'training': {{'epochs': 20}}}}",
        )
    where, data = ("config", config) if isinstance(config, Mapping) else (str(config), _read(Path(config)))
    unknown = sorted(set(data) - set(PARTS), key=str)
    if unknown:
        raise TrainingError("bad_config", f"{where}: unknown parts {unknown}; accepted: {', '.join(PARTS)}")
    parts = {name: _part(where, name, given) for name, given in data.items()}
    check_grid(parts.get("task", {}))
    return parts


def _part(where: str, name: str, given: Any) -> dict[str, Any]:
    """A part as data. What an object of settings leaves open is not named: the size of a task, for example."""
    if (name == "task" and isinstance(given, TaskSpec)) or (name == "training" and isinstance(given, TrainingConfig)):
        given = {key: value for key, value in given.to_dict().items() if value is not None}
    if not isinstance(given, Mapping):
        raise TrainingError("bad_config", f"{where}: {name!r} is {shown(given)}; keys and values are needed")
    taken: dict[str, Any] = plain(given)
    return taken


def _read(path: Path) -> Mapping[str, Any]:
    yaml = path.suffix.lower() in (".yaml", ".yml")
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows write a byte order mark
        data = _yaml(text) if yaml else json.loads(text, object_pairs_hook=_once)
    except FileNotFoundError as error:
        raise TrainingError("not_found", f"{path}: no such configuration; name a .json or .yaml file") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise TrainingError(
            "bad_config", f"{path}: cannot be read as {'YAML' if yaml else 'JSON'} ({reason})"
        ) from error
    if data is None and yaml:  # nothing but comments
        return {}
    if not isinstance(data, dict):
        raise TrainingError("bad_config", f"{path}: it is no object of settings; accepted parts: {', '.join(PARTS)}")
    return data


def check_grid(given: dict[str, Any]) -> None:
    """What is calculated with before there is a task: spacing, size and field of view of the part ``task``.

    Raises:
        TrainingError: ``bad_config`` with the key and what is accepted.
    """
    for name, accepted in (("spacing", "a list of positive numbers"), ("size", "a list of positive whole numbers")):
        values = given.get(name, ())
        if not isinstance(values, (list, tuple)) and not (values is None and name == "size"):
            raise TrainingError("bad_config", f"task settings: {name} {values!r}; a list is needed, one number an axis")
        if not all(is_number(n) and n > 0 and (name == "spacing" or n == math.floor(n)) for n in values or ()):
            raise TrainingError(
                "bad_config", f"task settings: {name} {values!r}{comma_hint_of(values)}; {accepted} is needed"
            )
    view = given.get("field_of_view")
    if view is not None and not (is_number(view) and view > 0):
        raise TrainingError(
            "bad_config",
            f"task settings: field_of_view {view!r}{comma_hint_of(view)}; a positive number of mm is needed",
        )


ABOUT = {"description": str, "version": str, "card": str, "data_license": str, "metrics": dict, "calibration": dict}
"""Keys of the part ``bundle`` and their types."""


def check_about(about: dict[str, Any]) -> None:
    """The part ``bundle`` of a configuration: known keys, texts where texts are, numbers that can be used.

    Keys:
        description: one line for a person.
        version: version of the model, such as ``1.0.0``.
        card: model card, Markdown.
        data_license: licence and source of the training data.
        metrics: scores by name; replaced by those of the held-out cases, if there are any.
        calibration: ``temperature`` and ``offset`` (an object with a number for each label), which are folded into the
            weights, and the reliability rules in the form of ``metadata.json``; replaced by what the held-out cases
            give, if there are any.

    Raises:
        TrainingError: ``bad_config`` with the key and what is accepted.
    """
    for name, value in about.items():
        if name not in ABOUT:
            raise TrainingError("bad_config", f"bundle: unknown key {name!r}; accepted: {', '.join(ABOUT)}")
        if not isinstance(value, ABOUT[name]):
            wanted = "text in quotes" if ABOUT[name] is str else "object"
            raise TrainingError("bad_config", f"bundle: {name} is {value!r}; a {wanted} is needed")
    for part in ("metrics", "calibration"):
        wrong = [name for name in about.get(part, {}) if not isinstance(name, str)]
        if wrong:
            raise TrainingError("bad_config", f"bundle: {part}, key {wrong[0]!r}; a text is needed, in quotes")
    for name, value in about.get("metrics", {}).items():
        if not is_json_number(value):
            raise TrainingError(
                "bad_config", f"bundle: metrics, {name} is {value!r}{comma_hint_of(value)}; a finite number is needed"
            )
    calibration = about.get("calibration", {})
    temperature, offset = calibration.get("temperature", 1.0), calibration.get("offset", {})
    if not is_json_number(temperature) or temperature <= 0:
        hint = comma_hint_of(temperature)
        raise TrainingError(
            "bad_config", f"bundle: calibration, temperature is {temperature!r}{hint}; a number above 0 is needed"
        )
    if not isinstance(offset, dict) or not all(map(is_json_number, offset.values())):
        raise TrainingError(
            "bad_config", f"bundle: calibration, offset is {offset!r}; an object of a number for each label is needed"
        )
    try:
        Trust.from_calibration(calibration, "bundle")
    except BundleError as error:
        raise TrainingError("bad_config", f"{error.message}; mend it, or leave it out") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, none of whose keys stands twice: the last would win, and nobody be told."""
    _no_key_twice([key for key, _ in pairs])
    return dict(pairs)


def _no_key_twice(keys: Sequence[Any]) -> None:
    twice = [key for number, key in enumerate(keys) if key in keys[:number]]
    if twice:
        hint = comma_hint(twice[0])
        raise ValueError(f"key {twice[0]!r} stands twice in one object{hint}; keep one of them")


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise missing_package(
            "a YAML configuration", ["PyYAML"], extra="train", otherwise="or write it as JSON", kind=TrainingError
        ) from error

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            merged = "tag:yaml.org,2002:merge"  # `<<`: its keys are meant to be overridden
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != merged]
            _no_key_twice([key.value for key in keys])
            return node

    try:
        return _numbers(yaml.load(text, Loader=Loader))
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _numbers(data: Any, inside: tuple[Any, ...] = ()) -> Any:
    """The data with ``1e-3`` as a number: YAML 1.1 wants a point and a sign in it, and else takes it for a text."""
    if any(data is outer for outer in inside):
        raise ValueError("an alias (*) stands inside of what it names; write the values out")
    if isinstance(data, dict):
        return {key: _numbers(value, (*inside, data)) for key, value in data.items()}
    if isinstance(data, list):
        return [_numbers(value, (*inside, data)) for value in data]
    return float(data) if isinstance(data, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", data) else data

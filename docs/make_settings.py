"""Write docs/settings.md, the reference of all settings of a training: `python -m docs.make_settings`.

Meanings are those of the docstrings, defaults and ranges those of the code. Only what neither of them says stands here:
what is planned from the data list, and which values a text or a list may have.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from medattn_core import tasks
from medattn_core.bundles.bundle import NETWORK_SETTINGS
from medattn_core.networks.attention_cnn import POOLINGS, AttentionCNN
from medattn_core.networks.efficientnet_lite import KEPT, EfficientNetLite
from medattn_core.networks.encoders import ENCODERS, OPTIONS, SETTLED, CompactResNet, build_encoder
from medattn_core.ranges import Range
from medattn_core.tasks import IntensityRule, TaskSpec
from medattn_core.training import config, plan, plan_network
from medattn_core.training.config import TrainingConfig
from medattn_core.training.losses import LossWeights
from medattn_core.transforms.augment import Augmentation
from medattn_core.transforms.grid import MULTIPLE

PAGE = Path(__file__).with_name("settings.md")

PLANNED = "planned"

SHARE = Range(low=0, high=1)

OF_TYPE = {bool: "true or false", str: "text", int: "an integer", float: "a number", dict: "an object"}


def _task(dims: int, **other: Any) -> TaskSpec:
    return TaskSpec(name="t", labels=("a", "b"), spatial_dims=dims, spacing=(1.0,) * dims, **other)


def _or(values: Iterable[Any]) -> str:
    *first, last = (f"`{value}`" for value in values)
    return f"{', '.join(first)} or {last}" if first else last


# ---- what the code says


def described(thing: Any, section: str) -> dict[str, str]:
    """The entries of a section of a Google-style docstring, each on one line of Markdown."""
    text = inspect.getdoc(thing) or ""
    found = re.search(rf"^{section}:\n((?:[ ]{{4}}.*\n?|\n)+)", text, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"{thing.__name__} has no section {section!r}")
    entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", found[1], flags=re.MULTILINE)
    plain = {name: " ".join(says.split()).replace("``", "`") for names, says in entries for name in names.split(", ")}
    return {name: re.sub(r"\bNone\b", "`null`", says).removesuffix(".") for name, says in plain.items()}


def shown(value: Any) -> str:
    """A default as it is written in a configuration."""
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in ("", (), []):
        return "empty"
    if isinstance(value, (tuple, list)):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def defaults_of(kind: Any) -> dict[str, str]:
    """What the fields of a dataclass are where they are not given."""
    return {one.name: "" if one.default is MISSING else shown(one.default) for one in fields(kind)}


def arguments_of(function: Any) -> dict[str, str]:
    """The same of the arguments of a function or class that have a default."""
    found = inspect.signature(function).parameters.values()
    return {one.name: shown(one.default) for one in found if one.default is not one.empty}


def accepted_of(kind: Any, ranges: Mapping[str, Range]) -> dict[str, str]:
    """What is accepted by the types, and ranges, of a class."""
    found = {}
    for name, of in get_type_hints(kind).items():
        if name in ranges:
            found[name] = f"{'integer, ' if of is int else ''}{ranges[name]}"
        elif of in OF_TYPE:
            found[name] = OF_TYPE[of]
    return found


# ---- how it is laid out


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def keys(says: Mapping[str, str], default: Mapping[str, str], accepted: Mapping[str, str], names: Iterable[str]) -> str:
    """A table of keys. One that lacks a meaning, a default or what is accepted is an error."""
    rows = ([f"`{name}`", default[name], accepted[name], says[name]] for name in names)
    return table(("key", "default", "accepted", "meaning"), rows)


def rules(planned: Mapping[str, str]) -> str:
    """How the keys that are planned are planned."""
    return "Planned:\n\n" + "".join(f"- `{name}`: {how}.\n" for name, how in planned.items())


# ---- the parts


def task_part() -> str:
    """`task`, with the intensity rule."""
    planned = {
        "kind": "`regression` if the list has values; `multiclass` if each case has exactly one of several labels; "
        "otherwise `multilabel`",
        "activation": "`identity` for regression, `softmax` for `multiclass`, `sigmoid` for `multilabel`",
        "labels": "those of the list, in the order of its `labels` (JSON), otherwise alphabetical; for regression "
        "`value`",
        "modality": "the one that all images state; empty if they state none, or several",
        "channels": "`image`, or `image 1`, `image 2` and so on if a case has several",
        "spatial_dims": "2 for pictures and single slices, 3 for volumes",
        "spacing": "along each axis the median of the images; coarser if the median image would have more than "
        f"{plan.LONGEST[2]} pixels (2D) or {plan.LONGEST[3]} (3D)",
        "size": f"the median extent of the images at that spacing, rounded up to a multiple of {MULTIPLE} pixels and "
        "of the evidence stride",
        "field_of_view": "for pictures without pixel size, the longer side of the median picture in pixels; else none",
        "intensity": "for CT a window over its tissue; for 8-bit pictures their whole range; percentiles if there are "
        "negative values; otherwise `foreground_mean`. Channels of different kinds get one each",
    }
    default = defaults_of(TaskSpec) | dict.fromkeys(planned, PLANNED) | {"name": "that of the output folder"}
    accepted = accepted_of(TaskSpec, {}) | {
        "name": "text, not empty",
        "kind": _or(tasks.KINDS),
        "activation": f"{_or(tasks.ACTIVATIONS)}; `multilabel` requires `sigmoid`, regression `identity`",
        "labels": "distinct texts: all labels of the list",
        "modality": "a list of codes, such as `[MR]`",
        "channels": "distinct texts, one per image",
        "spatial_dims": "`2` or `3`",
        "slicewise": "true or false; true requires `spatial_dims: 2`",
        "spacing": "numbers above 0, one per axis",
        "slice_spacing": "above 0",
        "size": "multiples of the evidence stride, one per axis",
        "field_of_view": "above 0",
        "intensity": "an object, or a list with one per channel",
        "threshold": str(SHARE),
    }
    rule = accepted_of(IntensityRule, {}) | {
        "rule": _or(tasks.INTENSITY_RULES),
        "lower": "a number; for `percentile` 0 to 100",
        "upper": "a number above `lower`; for `percentile` up to 100",
    }
    names = [one.name for one in fields(TaskSpec)]
    inner = [one.name for one in fields(IntensityRule)]
    return (
        "## `task`\n\nInput and output of the model (`TaskSpec`).\n\n"
        + keys(described(TaskSpec, "Attributes"), default, accepted, names)
        + "\n"
        + rules(planned)
        + "\nHere `size` is that of the training batches, and `null` means the same as leaving it out. A slicewise "
        "model\naccepts images of any size afterwards.\n"
        "\n### `intensity`\n\nThe default bounds are those of `foreground_mean`: with another rule, give both.\n\n"
        + keys(described(IntensityRule, "Attributes"), defaults_of(IntensityRule), rule, inner)
    )


def network_part() -> str:
    """`network`, without the encoders."""
    size, many = (64, 64), plan_network.LITTLE
    wide = plan_network.plan_network(_task(2), {}, size=size, cases=many)
    narrow = plan_network.plan_network(_task(2), {}, size=size, cases=many - 1)
    small = plan_network.plan_network(_task(2), {}, size=(plan_network.FEW_PIXELS,) * 2, cases=many)
    sigmoid = plan_network.plan_network(_task(2, activation="sigmoid"), {}, size=size, cases=many)
    area = TaskSpec(
        name="t", kind="regression", activation="identity", labels=("a",), unit="mm2", spatial_dims=2, spacing=(1, 1)
    )
    summed = plan_network.plan_network(area, {}, size=size, cases=many)
    few, stem = plan_network.FEW_PIXELS, small["encoder_options"]["stem_stride"]
    planned = {
        "encoder_options": f"for `compact`. Fewer than {many} training cases, or volumes: "
        f"`widths: {narrow['encoder_options']['widths']}`. Images of up to {few} pixels along their shortest side: "
        f"`stem_stride: {stem}` and {len(small['encoder_options']['widths'])} stages. Larger volumes of up to "
        f"{plan_network.FEW_VOXELS:,} voxels in all: `stem_stride: 2`. Otherwise, and for other encoders, the defaults",
        "evidence_stride": f"{small['evidence_stride']} if `encoder_options` are planned for images of up to {few} "
        f"pixels, otherwise {wide['evidence_stride']}",
        "width": f"{narrow['width']} if narrower `widths` are planned, otherwise {wide['width']}",
        "null_score": f"for regressions in units of area or volume, the natural logarithm of the number of cells plus "
        f"2, and at least {plan_network.NULL_SCORE:g}; otherwise 0",
        "bias": f"with `sigmoid` {sigmoid['bias'][0]:.3g}, the log-odds of {plan_network.PRIOR:g}; otherwise 0",
        "dropout": f"{summed['dropout']:g} for regression, otherwise {wide['dropout']:g}",
    }
    follows = ("spatial_dims", "in_channels", "out_channels", "slicewise")
    default = arguments_of(AttentionCNN) | dict.fromkeys(planned, PLANNED) | dict.fromkeys(follows, "from the task")
    accepted = accepted_of(AttentionCNN.__init__, {"width": Range(low=1), "dropout": SHARE}) | {
        "encoder": "a name from the [table below](#encoders)",
        "encoder_options": "an object with [its keys](#encoders)",
        "evidence_stride": "one of the encoder's strides",
        "pooling": _or(POOLINGS),
        "bias": "numbers, one per output",
        "mirror": "-1, an axis from 0, or a list of distinct axes",
        **dict.fromkeys(follows, "leave it out"),
    }
    names = [name for name in NETWORK_SETTINGS if name not in follows]
    return (
        "## `network`\n\nArguments of `AttentionCNN`. The last four follow from the list and the part `task`: any "
        "other value is an error.\n\n"
        + keys(described(AttentionCNN, "Args"), default, accepted, [*names, *follows])
        + "\n"
        + rules(planned)
    )


WHAT = {
    "compact": "MedAttn's own small residual network",
    **{f"resnet{depth}": f"MONAI's ResNet-{depth}" for depth in (10, 18, 34, 50)},
    "seresnet50": "MONAI's SE-ResNet-50",
    "densenet121": "MONAI's DenseNet-121",
    "efficientnet-b0": "MONAI's EfficientNet-B0",
    "efficientnet-lite0": "EfficientNet without squeeze-excite; in 2D can [start from ImageNet](training.md#settings)",
    "efficientnet-lite1": "the same, deeper",
    "efficientnet-lite2": "the same, deeper and wider",
}

OF_NO_USE = ("num_classes", "feed_forward", "pretrained")
"""Options of MONAI's networks that are about their own head, or fetch weights."""


def options_of(name: str) -> list[str]:
    """Keys of `encoder_options` of an encoder."""
    found = [one for taker in OPTIONS[name]() for one in inspect.signature(taker).parameters.values()]
    names = dict.fromkeys(one.name for one in found if one.default is not one.empty and one.name not in SETTLED)
    return [one for one in names if one not in OF_NO_USE]


def own_encoders() -> list[str]:
    """Names of the encoders of the package; others may have been registered by whoever imports this."""
    return [name for name, builder in ENCODERS.items() if builder.__module__.startswith("medattn_core.")]


def encoders_part() -> str:
    """The encoders and their options; strides are measured."""
    rows = []
    for name in own_encoders():
        built: Any = build_encoder(name, spatial_dims=2, in_channels=1)
        local = "no" if built.mixes else "yes"
        rows.append([f"`{name}`", WHAT[name], ", ".join(map(str, built.strides)), local])
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in own_encoders():
        groups.setdefault(tuple(options_of(name)), []).append(name)
    own = {"compact": CompactResNet, "efficientnet-lite0": EfficientNetLite}
    accepted = {
        "widths": "integers above 0",
        "blocks": "integers above 0",
        "stem_stride": _or((1, 2, 4)),
        "stages": f"integer, {Range(low=1, high=len(KEPT))}",
    }
    text = (
        "## Encoders\n\nNames for `network: {encoder: ...}`, with the strides allowed as `evidence_stride` (in 2D). "
        "Evidence from an encoder\nthat is not local may rest on other parts of the image. Maps of MONAI's networks "
        "are shifted by up to half a cell\nalong each axis.\n\n"
        + table(("encoder", "what it is", "strides", "local"), rows)
        + "\nTheir options, for `network: {encoder_options: {...}}`:\n"
    )
    for options, names in groups.items():
        title = ", ".join(f"`{name}`" for name in names)
        if names[0] in own:
            kind = own[names[0]]
            says = described(kind, "Args")
            text += f"\n### {title}\n\n" + keys(says, arguments_of(kind), accepted, options)
    text += "\n### MONAI's networks\n\nTheir options are arguments of MONAI and documented there:\n\n"
    for options, names in groups.items():
        if names[0] not in own:
            text += f"- {', '.join(f'`{name}`' for name in names)}: {', '.join(f'`{one}`' for one in options)}\n"
    return text


def training_part() -> str:
    """`training`, with losses and augmentation."""
    start = plan_network
    planned = {
        "start_size": f"{start.START_SIZE:g} for pictures of at least {start.MANY_PIXELS} pixels along their shortest "
        f"side, {start.VOLUME_START_SIZE:g} for volumes with a planned `stem_stride: 2`; 1 for others, with "
        "`patience`, with a `zoom_power`, and with so few epochs that none would have the full size",
        "zoom_power": "by the unit of a regression: 1 for lengths (mm), 2 for areas (mm2), 3 for volumes (mm3, ml); "
        "otherwise 0",
    }
    default = defaults_of(TrainingConfig) | dict.fromkeys(planned, PLANNED)
    default |= {"losses": "see below", "augmentation": "see below"}
    accepted = accepted_of(TrainingConfig, TrainingConfig.ranges) | {
        "class_weights": "numbers above 0, one per label",
        "initial_weights": "`imagenet`, a bundle, or empty",
        "precision": _or(config.PRECISIONS),
        "zoom_power": f"{_or(config.ZOOM_POWERS)}; for classification 0",
        "losses": "an object with [these keys](#losses)",
        "augmentation": "an object with [these keys](#augmentation)",
    }
    names = [one.name for one in fields(TrainingConfig)]
    axes = "a list of distinct axes: `0`, `1` and, in 3D, `2`"
    augmented = accepted_of(Augmentation, Augmentation.ranges) | {"flip_axes": axes}
    moved = defaults_of(Augmentation) | {name: f"{defaults_of(Augmentation)[name]} *" for name in ("scale", "stretch")}
    return (
        "## `training`\n\nHow the network is trained (`TrainingConfig`). The options `--epochs`, `--seed` and "
        "`--start-from` (for\n`initial_weights`) override it. `class_weights` and `focal_gamma` are for classification "
        "only and refused in\nregression.\n\n"
        + keys(described(TrainingConfig, "Attributes"), default, accepted, names)
        + "\n"
        + rules(planned)
        + "\n### `losses`\n\nKeys of `training: {losses: {...}}`. The first five and `spread` apply where "
        "there are masks or boxes;\nin regression only `location` does. `spread` and `smoothing` are refused in "
        "regression, `together` without\n`activation: sigmoid`.\n\n"
        + keys(
            described(LossWeights, "Attributes"),
            defaults_of(LossWeights),
            accepted_of(LossWeights, LossWeights.ranges),
            [one.name for one in fields(LossWeights)],
        )
        + "\n### `augmentation`\n\nKeys of `training: {augmentation: {...}}`.\n\n"
        + keys(described(Augmentation, "Attributes"), moved, augmented, [one.name for one in fields(Augmentation)])
        + "\n\\* 1 for regressions in a unit of size (mm, cm2, ml and the like).\n"
    )


def bundle_part() -> str:
    """`bundle`."""
    default = {
        "description": "that of the task, or a line with its name",
        "version": "`0.1.0`",
        "card": "generated from the training",
        "data_license": "a line asking for it",
        "metrics": "measured, or empty",
        "calibration": "measured, or empty",
    }
    accepted = {name: OF_TYPE[kind] for name, kind in config.ABOUT.items()}
    accepted |= {"metrics": "an object of numbers", "calibration": "an object; `temperature` above 0"}
    return "## `bundle`\n\nWhat the bundle states about itself.\n\n" + keys(
        described(config.check_about, "Keys"), default, accepted, config.ABOUT
    )


def page() -> str:
    """The whole page."""
    head = f"""<!-- Written by `python -m docs.make_settings` from the code; change it there. -->

# Settings of a training

All keys of the file for `medattn train --config`, JSON or YAML. Every key is optional;
[Train and evaluate](training.md#settings) says which are worth setting, and when.

```yaml
task: {{name: my_task, spacing: [1, 1]}}
network: {{width: 64}}
training:
  learning_rate: 5e-4
  losses: {{location: 0.5}}
bundle: {{version: 1.0.0}}
```

The default applies when a key is left out. *Planned* defaults are chosen from the data list and up to
{plan.LOOK_AT} of its images, as described below each table; `medattn train` prints the main ones. With
`--start-from BUNDLE`, grid, intensity rule and network are those of the bundle instead. An unknown key or an invalid
value is an error whose message says what is accepted. Integers may be written `8.0`. Axes are counted from 0: rows and
columns in 2D, and R, A and S in 3D.
"""
    parts = (head, task_part(), network_part(), encoders_part(), training_part(), bundle_part())
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

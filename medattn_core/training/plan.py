"""What to train when the user does not say: task and network from the data list and the first images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medattn_core.datalists import Case, label_names, one_of_several
from medattn_core.datalists.location import is_flat
from medattn_core.errors import TrainingError
from medattn_core.tasks import KINDS, TaskSpec, listed
from medattn_core.training.config import TrainingConfig, check_grid
from medattn_core.training.plan_intensity import modality_of_all, plan_channels
from medattn_core.transforms.grid import MULTIPLE, longer_side
from medattn_core.volumes import Volume, geometry, read
from medattn_core.volumes.shown import display_axes

LOOK_AT = 20
"""Images that are opened to choose spacing, size and intensity rule, spread over the list."""

LONGEST = {2: 224, 3: 96}
"""Pixels that an axis has at most in two and three dimensions, where the spacing is chosen."""

UNIT_POWERS = {
    **dict.fromkeys(("um", "mm", "cm", "m"), 1),
    **dict.fromkeys(("mm2", "cm2", "m2"), 2),
    **dict.fromkeys(
        ("mm3", "cm3", "m3", "cc", "ccm", "ul", "ml", "cl", "dl", "l", "litre", "litres", "liter", "liters"), 3
    ),
}
"""Units of size, and the power of a zoom with which a value in them grows."""

SPELLINGS = {"²": "2", "³": "3", "µ": "u", "μ": "u", "^": "", "*": "", " ": ""}


def plan_task(
    cases: Sequence[Case],
    given: dict[str, Any],
    name: str,
    *,
    labels: Sequence[str] | None = None,
    multiple: int = MULTIPLE,
    say: Callable[[str], None] | None = None,
) -> tuple[TaskSpec, tuple[int, ...]]:
    """Task and training size.

    One label a case, of several: ``multiclass``. A single label, or cases with none or several: ``multilabel``, whose
    labels are decided each by itself, so that "none of them" can be said.

    Args:
        cases: the data list.
        given: the ``task`` part of the configuration; its keys win. ``size`` there is the training size.
        name: name of the task where none is given.
        labels: names in the order of the list; alphabetical by default.
        multiple: of pixels that a size is made of. The next one is taken: what is padded can be attended and not shown.
        say: called with a line for a person about what the data made of the choice.

    Returns:
        The task, and the model grid of the training batches.

    Raises:
        MedAttnError: an image cannot be read, or a given value is invalid or does not fit the list.
    """
    say = say or (lambda _: None)
    looked_at = _spread(len(cases))
    volumes = [read(cases[index].image) for index in looked_at]
    flat = all(map(is_flat, volumes))
    regression = kind_of(cases) == "regression"
    _check_kind(given.get("kind"), regression)
    settings: dict[str, Any] = {"name": name, "spatial_dims": 2 if flat else 3}
    if cases[0].channels:
        settings["channels"] = [f"image {i + 1}" for i in range(len(cases[0].images))]
    if regression:
        settings |= {"kind": "regression", "activation": "identity", "labels": ["value"]}
    else:
        settings |= _classification(cases, given, labels, say)
    settings |= given
    if settings.get("unit") and not regression:
        say(f"task: the unit {settings.pop('unit')!r} is ignored: labels have none")
    named = listed("channels", settings.get("channels", "image"))
    if len(named) != len(cases[0].images):
        raise TrainingError(
            "bad_config",
            f"task settings: channels are {', '.join(map(str, named))}, but a case of the list has "
            f"{len(cases[0].images)} image(s); name each of them, in their order",
        )
    check_grid(settings)
    dims = settings["spatial_dims"]
    if dims not in (2, 3) or (dims == 3 and all(v.spatial_dims == 2 for v in volumes)):
        what = "the list holds pictures, which have two" if dims == 3 else "accepted: 2, 3"
        raise TrainingError("bad_config", f"task settings: spatial_dims is {dims!r}; {what}")
    settings["spatial_dims"] = dims = int(dims)
    _check_axes(given, dims)
    several = [index for index, v in zip(looked_at, volumes, strict=True) if not is_flat(v)]
    if dims == 2 and several and not settings.get("slicewise"):
        raise TrainingError(
            "bad_config",
            f"task settings: spatial_dims is 2, but {cases[several[0]].image} has several slices; add `slicewise: true`"
            " to the task, which looks at each by itself, or give single slices",
        )
    settings["modality"] = (
        listed("modality", given["modality"])
        if "modality" in given
        else modality_of_all(cases, looked_at, volumes, say)
    )
    if "intensity" not in given:
        # A few of the further channels: all of them at once may be larger than memory.
        further = zip(*(cases[index].channels for index in looked_at[::4]), strict=True)
        channels = [volumes, *([read(path) for path in paths] for paths in further)]
        settings["intensity"], why = plan_channels(channels, settings["modality"])
        say(f"intensity: {why}")
    view = given.get("field_of_view")
    known = all(v.spacing_known for v in volumes)
    unsized = dims == 2 and not known
    if unsized and view is None:
        longest = max(np.median([_extent(v, dims, None) for v in volumes], axis=0))
        view = settings["field_of_view"] = float(longest)
    extents = np.array([_extent(v, dims, view) for v in volumes])
    # Without a pixel size each is as long as the field of view: the middle of upright and lying ones would crop both.
    extent = extents.max(axis=0) if unsized else np.median(extents, axis=0)
    if "spacing" not in given:
        native = np.median([_spacing(v, dims, view) for v in volumes], axis=0)
        settings["spacing"] = [float(f"{max(n, e / LONGEST[dims]):.5g}") for n, e in zip(native, extent, strict=True)]
    else:
        stored = np.median([np.array(v.shape)[_model_axes(v, dims)] for v in volumes], axis=0)
        measured = not unsized or given.get("field_of_view")
        _check_spacing(settings["spacing"], extent, stored, "mm" if measured else "pixels")
    size = settings.get("size") or [
        max(1, math.ceil(e / s / multiple - 1e-3)) * multiple for e, s in zip(extent, settings["spacing"], strict=True)
    ]
    if settings.get("slicewise"):
        settings["size"] = None  # the trained model takes slices and volumes of any size
    else:
        settings["size"] = list(size)
    return TaskSpec.from_dict(settings), tuple(int(n) for n in size)


def cells_of(given: dict[str, Any]) -> int:
    """Pixels that a size must be a multiple of, with the ``network`` part of the configuration."""
    stride = given.get("evidence_stride", MULTIPLE)
    return math.lcm(MULTIPLE, stride) if type(stride) is int and stride > 0 else MULTIPLE


def plan_zoom_power(task: TaskSpec) -> int:
    """How the value of a regression grows with a zoom, by its unit: 3 for mm3 or ml; 0 where it is no size."""
    if task.kind != "regression":
        return 0
    unit = task.unit.lower().strip()
    for written, plain in SPELLINGS.items():
        unit = unit.replace(written, plain)
    return UNIT_POWERS.get(unit, 0)


def plan_growth(settings: TrainingConfig, task: TaskSpec, given: dict[str, Any]) -> TrainingConfig:
    """Settings for a value that grows with a zoomed image, where they are not given.

    The power of the zoom follows the unit, and by default nothing is zoomed: what a zoom moves out of the picture would
    still be asked for, and on the one set that was measured zooming made the error larger (`docs/benchmarks.md`).

    Args:
        settings: of the training.
        task: what is asked for.
        given: the ``training`` part of the configuration; its keys win.

    Raises:
        TrainingError: ``bad_config``: a setting that this kind of task cannot obey.
    """
    regression = task.kind == "regression"
    if settings.zoom_power and not regression:
        raise TrainingError("bad_config", f"zoom_power={settings.zoom_power}: a label does not grow; leave it out")
    if settings.losses.spread and regression:
        raise TrainingError(
            "bad_config", "losses: spread is of labels; in a regression location spreads the map already"
        )
    ignored = {
        "focal_gamma": settings.focal_gamma, "class_weights": list(settings.class_weights),
        "losses: smoothing": settings.losses.smoothing,
    }  # fmt: skip
    for name, value in ignored.items() if regression else ():
        if value:
            raise TrainingError("bad_config", f"{name}={value!r}: a regression has no classes; leave it out")
    if settings.losses.together and task.activation != "sigmoid":
        raise TrainingError(
            "bad_config", "losses: together is of labels that are judged one against the rest; name `activation: "
            "sigmoid` in the task, or leave it out"
        )  # fmt: skip
    power = plan_zoom_power(task)
    if "zoom_power" not in given:
        settings = replace(settings, zoom_power=power)
    if power:
        own = given.get("augmentation", {})
        own = own if isinstance(own, dict) else vars(own)
        moved = settings.augmentation
        scale, stretch = (getattr(moved, name) if name in own else 1.0 for name in ("scale", "stretch"))
        settings = replace(settings, augmentation=replace(moved, scale=scale, stretch=stretch))
    return settings


def _spread(count: int) -> list[int]:
    """Which cases of a list are looked at: evenly over all of it, the first and the last among them."""
    return [round(index) for index in np.linspace(0, count - 1, min(count, LOOK_AT)).tolist()]


def _check_kind(kind: Any, regression: bool) -> None:
    """Refuse a kind of task that contradicts the list. What is no kind at all is left to TaskSpec."""
    if kind not in KINDS or (kind == "regression") == regression:
        return
    holds, other = ("values", "labels") if regression else ("labels", "values")
    raise TrainingError(
        "bad_config",
        f"task settings: kind is {kind!r}, but the list holds {holds}, and {kind} is of {other}; leave kind out, or "
        f"give the list {other}",
    )


def _check_axes(given: dict[str, Any], dims: int) -> None:
    """Refuse a spacing or size of more or fewer axes than the images have."""
    for name in ("spacing", "size"):
        values = given.get(name)
        if values is not None and len(values) != dims:
            raise TrainingError(
                "bad_config",
                f"task settings: {name} {list(values)}; {dims} values are needed, one an axis of the {dims}D grid",
            )


def _check_spacing(spacing: Sequence[float], extent: np.ndarray, stored: np.ndarray, unit: str) -> None:
    """Refuse a spacing that leaves less of the images than a cell of the map.

    What is that small as it is stored may stay so, and a thin slab is padded.
    """
    seen = extent / np.array(spacing, float)
    if max(seen) > 0.99 * min(MULTIPLE, max(stored)):
        return
    size, left = (" x ".join(f"{n:.3g}" for n in numbers) for numbers in (extent, seen))
    raise TrainingError(
        "bad_config",
        f"task settings: spacing {list(spacing)} is too coarse: of images of {size} {unit} it leaves {left} pixels; "
        f"at least {MULTIPLE} are needed along the longest axis: give a finer one, or leave it out",
    )


def _classification(
    cases: Sequence[Case], given: dict[str, Any], listed: Sequence[str] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Kind, activation and labels that the list asks for, unless it contradicts what is given."""
    shown = label_names(cases)
    unused = [name for name in listed or () if name not in shown]
    if unused and "labels" not in given:
        say(f"label without a case, left out: {', '.join(unused)}")
    labels = [name for name in listed or shown if name in shown]
    exclusive = one_of_several(cases)
    kind = given.get("kind", kind_of(cases))
    if kind == "multiclass" and not exclusive:
        why = (
            "a single label" if len(shown) < 2
            else "cases without a label" if any(not case.labels for case in cases) else "several labels a case"
        )  # fmt: skip
        raise TrainingError(
            "bad_config",
            f"task settings: kind is 'multiclass', but the list has {why}; use kind 'multilabel' with activation "
            "'sigmoid', which can say none and several",
        )
    return {"kind": kind, "activation": "softmax" if kind == "multiclass" else "sigmoid", "labels": labels}


def kind_of(cases: Sequence[Case]) -> str:
    """Kind of task that a list asks for, where none is named."""
    if all(case.value is not None for case in cases):
        return "regression"
    return "multiclass" if one_of_several(cases) else "multilabel"


def _spacing(volume: Volume, dims: int, view: Any) -> np.ndarray:
    """Millimetres a voxel along the model axes; of a picture without pixel size, by the field of view where stated."""
    if volume.spacing_known or dims == 3 or not isinstance(view, (int, float)):
        return volume.spacing[_model_axes(volume, dims)]
    return volume.spacing[_model_axes(volume, dims)] * (float(view) / longer_side(volume))


def _extent(volume: Volume, dims: int, view: Any) -> np.ndarray:
    """Millimetres (or pixels) along the model axes."""
    return np.array(volume.shape)[_model_axes(volume, dims)] * _spacing(volume, dims, view)


def _model_axes(volume: Volume, dims: int) -> list[int]:
    """Voxel axes that run along the axes of the model: rows and columns of a picture, or R, A, S."""
    return [axis for axis, _ in display_axes(volume)[:2]] if dims == 2 else geometry.axis_order(volume.affine)[0]


def describe(task: TaskSpec, size: tuple[int, ...], network: dict[str, Any], settings: TrainingConfig) -> list[str]:
    """What will be trained, in lines for a person; each can be overruled in the configuration."""
    spacing, grid = (" x ".join(f"{n:g}" for n in numbers) for numbers in (task.spacing, size))
    what = f"{task.labels[0]} in {task.unit or 'its unit'}" if task.kind == "regression" else ", ".join(task.labels)
    if task.kind == "regression":
        what += (
            f" (a zoom by f makes it f^{settings.zoom_power} times as large)"
            if settings.zoom_power
            else " (no size: a zoom does not change it)"
        )
    rules = ", ".join(dict.fromkeys(map(str, task.intensities)))
    options = "".join(f", {name} {value}" for name, value in dict(network.get("encoder_options") or {}).items())
    return [
        f"task: {task.kind} ({task.activation}) of {what}",
        f"grid: {grid} at {spacing} mm{', slice by slice' if task.slicewise else ''}; intensity {rules}",
        f"network: {network['encoder']}{options}, {network['pooling']} pooling, "
        f"an evidence cell is {network['evidence_stride']} pixels wide",
        f"training: {settings.epochs} epochs, batches of {settings.batch_size}, learning rate "
        f"{settings.learning_rate:g}, {settings.precision}, seed {settings.seed}",
    ]

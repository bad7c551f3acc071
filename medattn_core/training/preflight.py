"""Everything about a training that is knowable before hours of it."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_type_hints

import torch

from medattn_core.bundles import BUNDLE_NAME, Bundle, check_target, load, save_bundle
from medattn_core.bundles.bundle import NETWORK_SETTINGS
from medattn_core.errors import MedAttnError, TrainingError, missing_package
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.encoders import check_options
from medattn_core.ranges import SEEDS
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig, differing
from medattn_core.training.initial import start_from
from medattn_core.training.typed import fits, refuse_unknown
from medattn_core.training.work_folder import CHECKPOINT, logs_of, work_of
from medattn_core.values import comma_hint_of

PACKAGES = ("monai", "ignite", "tensorboard", "sklearn", "scipy")
"""What the extra ``train`` brings."""

MOST_FOLDS = 2**16
"""More folds than anybody trains: room for their numbers above a seed."""

WORDS: dict[Any, str] = {
    "bias": "a list of numbers, one an output,",
    "encoder_options": "an object of keys and values",
    bool: "true or false (without quotes)",
    str: "a text",
    int: "a whole number above 0",
    float: "a number",
}
"""What a setting of the network has to be, by its name or else its type."""


def check_installed(packages: Sequence[str] = PACKAGES) -> None:
    """Whether the packages of the extra ``train`` are there.

    Raises:
        TrainingError: ``missing_dependency`` with the line that installs them.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise missing_package("training", missing, extra="train", kind=TrainingError)


def network_of(settings: dict[str, Any]) -> AttentionCNN:
    """The network of settings.

    Raises:
        TrainingError: ``bad_config``.
    """
    settings = network_settings_of(settings)
    try:
        check_options(settings.get("encoder", "compact"), settings.get("encoder_options") or {})
        return AttentionCNN(**settings)
    # Options are passed on to networks of MONAI, which look at few of them.
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError("bad_config", f"network settings: {' '.join(str(error).split())}") from error


def network_settings_of(given: dict[str, Any]) -> dict[str, Any]:
    """The ``network`` part of a configuration as the network takes it: whole numbers may be written ``8.0``.

    Raises:
        TrainingError: ``bad_config``: an unknown key, or a value of another type than it states.
    """
    refuse_unknown(given, NETWORK_SETTINGS, "network settings")
    kinds = get_type_hints(AttentionCNN.__init__)
    for name, value in given.items():
        kind = kinds[name]
        if not fits(value, kind) or (kind is int and value <= 0):
            words = WORDS.get(name) or WORDS[kind]
            hint = "" if kind in (bool, str) else comma_hint_of(value)
            raise TrainingError("bad_config", f"network settings: {name} is {value!r}{hint}; {words} is needed")
    return {name: int(value) if kinds[name] is int else value for name, value in given.items()}


def check_output(output: Path) -> None:
    """Whether a bundle can be written there.

    Raises:
        MedAttnError: ``bad_argument`` or ``unwritable``.
    """
    check_target(output)
    if not BUNDLE_NAME.fullmatch(output.name):
        raise TrainingError(
            "bad_argument",
            f"{output}: name {output.name!r}; accepted: a letter or digit, then up to 99 of letters, digits, '.', '_' "
            "and '-'",
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent):
            pass
    except OSError as error:
        raise TrainingError("unwritable", f"{output}: {error.strerror}; choose a folder that may be written") from error
    for beside in (work_of(output), logs_of(output)):
        if os.path.lexists(beside) and not beside.is_dir():
            raise TrainingError(
                "unwritable",
                f"{beside}: exists and is no folder, and a training writes there; move it away, or choose another "
                "name for the bundle",
            )
        # Asked, not tried: what another process tried there would pass for an unfinished training.
        if beside.is_dir() and not os.access(beside, os.W_OK | os.X_OK):
            raise TrainingError(
                "unwritable",
                f"{beside}: it may not be written, and a training writes there; make it writable, or choose another "
                "name for the bundle",
            )


def check_follows(task: TaskSpec, network_settings: dict[str, Any]) -> None:
    """Whether the network settings that follow the task do.

    Raises:
        TrainingError: ``bad_config``.
    """
    wanted = {"spatial_dims": task.spatial_dims, "slicewise": task.slicewise, "in_channels": len(task.channels),
              "out_channels": len(task.labels)}  # fmt: skip
    for name, value in wanted.items():
        given = network_settings.get(name, value)
        if given != value:
            raise TrainingError(
                "bad_config",
                f"network settings: {name} is {given!r}, but the task asks for {value!r}; leave it out, it follows the "
                "list and the part task",
            )


def _differing(own: dict[str, Any], settings: dict[str, Any], parts: Sequence[str]) -> list[str]:
    """Settings that differ, each with what it was and is."""
    found = []
    for part in parts:
        before, now = own.get(part) or {}, settings[part]
        keys = differing(before, now)
        found += [f"{part} ({key}: {before.get(key)!r} there, {now[key]!r} here)" for key in keys] or [part]
    return found


def finished(output: Path, work: Path, *, resume: bool, overwrite: bool, settings: dict[str, Any]) -> Bundle | None:
    """The bundle at ``output``, if it is the finished run that is to be resumed; None if one is to be trained.

    Args:
        output: bundle folder.
        work: folder of the checkpoints, which is there until a run is finished.
        resume, overwrite: see :func:`medattn_core.training.train`.
        settings: ``task``, ``network``, ``training``, ``trained_on`` and ``started_from`` of this run.

    Raises:
        MedAttnError: ``bad_argument``: a bundle or an unfinished run is there, and neither is said; or what is there is
            of other settings or cases.
    """
    if not (resume or overwrite) and work.is_dir() and any(work.iterdir()):
        raise TrainingError(
            "bad_argument",
            f"{output}: an unfinished training is there; continue it (--resume), or start anew (--overwrite)",
        )
    if overwrite or not output.is_dir() or not any(output.iterdir()) or (resume and work.is_dir()):
        return None
    if not resume:
        raise TrainingError(
            "bad_argument", f"{output}: a bundle is there already; choose another folder, or overwrite it (--overwrite)"
        )
    bundle = load(output)
    own = bundle.metadata["medattn"]
    if "trained_on" not in own:  # of an older version, which did not note it
        settings = {name: value for name, value in settings.items() if name != "trained_on"}
    changed = [name for name, value in settings.items() if own.get(name) != value]
    if "trained_on" in changed:
        raise TrainingError(
            "bad_argument",
            f"{output}: the finished bundle there was trained on other cases, or holds others out; choose another "
            "folder, or overwrite it (--overwrite)",
        )
    if "training" in changed and TrainingConfig.from_dict(settings["training"]).same_as(own.get("training")):
        changed.remove("training")
    if changed:
        what = ", ".join(_differing(own, settings, changed))
        raise TrainingError(
            "bad_argument",
            f"{output}: the finished bundle there has another {what}; choose another folder, or overwrite it "
            "(--overwrite)",
        )
    return bundle


@contextmanager
def begun(work: Path) -> Iterator[None]:
    """A training that replaces a finished bundle is unfinished from here on, not from its first checkpoint.

    Killed while its images are read, ``resume`` has to train it, and not to give the finished one back. Where what is
    read cannot be used, nothing has begun.

    Args:
        work: folder of the checkpoints.
    """
    work.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except MedAttnError:
        with suppress(OSError):  # earlier checkpoints stay
            work.rmdir()
        raise


def check_work(work: Path, output: Path, folds: int) -> None:
    """Whether the checkpoints that are to be continued are of as many networks.

    Args:
        work: folder of the checkpoints.
        output: bundle folder, for the message.
        folds: number of networks of this run.

    Raises:
        TrainingError: ``bad_argument``.
    """
    numbers = [int(path.parent.name.removeprefix("fold")) for path in work.glob(f"fold*/{CHECKPOINT}")]
    alone = (work / CHECKPOINT).exists()
    if (alone and folds > 1) or (numbers and max(numbers) >= (folds if folds > 1 else 0)):
        there = "of a single network" if alone else f"with folds ({max(numbers) + 1} or more)"
        raise TrainingError(
            "bad_argument",
            f"{output}: the unfinished training there is one {there}; resume it with the same folds, or start anew "
            "(--overwrite)",
        )


def check_before(
    output: Path,
    task: TaskSpec,
    size: tuple[int, ...],
    network_settings: dict[str, Any],
    training: TrainingConfig,
    *,
    about: dict[str, Any],
    held_out: bool,
    processes: int = 1,
    start: Bundle | None = None,
) -> tuple[int, int]:
    """Write and load an untrained bundle of these settings, and pass one image of the planned size through it.

    Returns:
        The strides of the network: the coarsest, that of the evidence.

    Raises:
        MedAttnError: the name, target, size or settings would be refused afterwards.
    """
    check_follows(task, network_settings)
    network = network_of(network_settings)
    start_from(network, start or training.initial_weights, task)
    stride = network.evidence_stride
    if len(size) != task.spatial_dims or any(n % stride for n in size):
        raise TrainingError(
            "bad_config",
            f"training size {list(size)}: {task.spatial_dims} values, each a multiple of the evidence stride {stride}, "
            "are needed",
        )
    if len(training.class_weights) not in (0, len(task.labels)):
        raise TrainingError(
            "bad_config", f"class_weights has {len(training.class_weights)} values for {len(task.labels)} labels"
        )
    flips = training.augmentation.flip_axes or ()
    if any(axis >= task.spatial_dims for axis in flips) or len(set(flips)) != len(flips):
        accepted = ", ".join(str(axis) for axis in range(task.spatial_dims))
        raise TrainingError(
            "bad_config", f"augmentation: flip_axes={list(flips)}; accepted: different ones of {accepted}"
        )
    if training.patience and not held_out:
        raise TrainingError(
            "bad_config", f"patience={training.patience}, but no case is held out; name a validation fold, or folds"
        )
    if held_out and training.seed > SEEDS - MOST_FOLDS:
        raise TrainingError(
            "bad_config", f"seed={training.seed}; folds add their number to it, accepted: 0 to {SEEDS - MOST_FOLDS}"
        )
    offset = about.get("calibration", {}).get("offset", {})
    unknown = [name for name in offset if name not in task.labels]
    if unknown:
        raise TrainingError(
            "bad_config",
            f"bundle: calibration, offset has the unknown label {unknown[0]!r}; accepted: {', '.join(task.labels)}",
        )
    if training.batch_size % processes:
        raise TrainingError(
            "bad_config",
            f"batch_size={training.batch_size} for {processes} processes; a multiple of {processes} is needed",
        )
    check_output(output)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / output.name
        try:
            save_bundle(
                trial,
                task=task,
                network_settings=network_settings,
                state_dict=network.state_dict(),
                **{"description": "a trial", "version": "0.0.0", **about},
            )
        except MedAttnError as error:
            # Nothing lies at the output that could be damaged: a bundle that is no good is made of such settings.
            code, where = ("bad_config", "settings") if error.code == "bad_bundle" else (error.code, str(output))
            raise TrainingError(code, error.message.replace(str(trial), where)) from error
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, len(task.channels), *size))
    except (ValueError, IndexError, RuntimeError) as error:
        raise TrainingError(
            "bad_config", f"network settings: images of {list(size)} do not pass ({' '.join(str(error).split())})"
        ) from error
    smallest = training.size_at(0, tuple(size), network.coarsest_stride, network.evidence_stride)
    if training.batch_size == 1 and all(n <= network.coarsest_stride for n in smallest):
        raise TrainingError(
            "bad_config",
            f"batch_size=1 with images of {list(smallest)}: what is left of one at stride {network.coarsest_stride} is "
            "a single value, which has no batch statistics; accepted: 2 or more",
        )
    return network.coarsest_stride, network.evidence_stride

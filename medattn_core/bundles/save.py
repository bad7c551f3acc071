"""Write a bundle: whole, checked and loadable, or not at all."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medattn_core.bundles.bundle import (
    CARD,
    DATA_LICENSE,
    EVALUATE,
    INFERENCE,
    INPUT_CHECK,
    LICENSE,
    LISTED_FILES,
    MEMBER,
    METADATA,
    TRAIN,
    WEIGHTS,
    Bundle,
    Recipe,
)
from medattn_core.bundles.card import model_card, origin_section
from medattn_core.bundles.configs import evaluate_config, inference_config, metadata_config, train_config
from medattn_core.bundles.files import member, read_json, sha256
from medattn_core.bundles.load import load
from medattn_core.bundles.placing import new_folder, unwritable
from medattn_core.bundles.plain import would_be_evaluated
from medattn_core.bundles.trust import InputCheck
from medattn_core.bundles.weights import build_network
from medattn_core.errors import BundleError
from medattn_core.files import replacing
from medattn_core.networks.receptive_field import receptive_field
from medattn_core.tasks import TaskSpec
from medattn_core.values import PLAIN

HALF_FROM = 4096
"""Elements from which a tensor is stored in half precision: the others (statistics, biases, head) weigh nothing."""

OF_A_NETWORK = re.escape(WEIGHTS) + "|" + re.escape(MEMBER).replace(r"\{\}", r"\d+")
"""Names of the files that hold weights, of which calibration and input check are."""


def save_bundle(
    folder: str | os.PathLike[str],
    *,
    task: TaskSpec,
    network_settings: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    members: Sequence[Mapping[str, Tensor]] = (),
    description: str,
    version: str,
    card: str = "",
    data_license: str = "",
    metrics: Mapping[str, Any] | None = None,
    half: bool = True,
    calibration: Mapping[str, Any] | None = None,
    input_check: InputCheck | None = None,
    training: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    trained_on: str = "",
    evaluation: str = "",
    about: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle folder and load it back.

    It is written beside the target and takes its place once it loads. Where Linux can exchange two folders in one step
    (not on network drives) a folder of that name is a whole bundle at any time; elsewhere there is none for a moment,
    and if the process is killed just then, the next one that writes to that name puts the old bundle back.

    Args:
        folder: to write; its name is the bundle's name. An existing bundle there is replaced.
        task: what the model takes and gives.
        network_settings: keyword arguments of AttentionCNN.
        state_dict: weights of that network, calibration and units folded in.
        members: further state dicts of the same network: the bundle is an ensemble then, the mean of all.
        description: one line for a person.
        version: of the model, such as ``1.0.0``.
        card: model card (Markdown); written from the facts where empty.
        data_license: licence and source of the training data.
        metrics: measured scores, name to value.
        half: store large tensors as float16 (half the size, relative error up to 5e-4).
        calibration: record of how probabilities were calibrated, and the rules of
            :class:`medattn_core.bundles.trust.Trust`.
        input_check: what the training scans were like.
        training: record of the training settings.
        recipe: with it the bundle holds `train.json` and `evaluate.json`, which repeat the training with MONAI.
        trained_on: hash of the cases and of who was held out, by which a finished training is known again.
        evaluation: how the metrics were measured, for the card that is written from the facts.
        about: further metadata of MONAI's schema (``authors``, ``copyright``, ``references``, ``changelog``...); what
            the other arguments say cannot be overruled here.

    Raises:
        BundleError: ``bad_bundle`` or ``weights_mismatch`` (the parts do not fit, or a text in them would be code in a
            configuration), ``bad_argument`` (something that is no bundle lies at ``folder``), ``unwritable``.
    """
    target = Path(folder)
    check_target(target)
    network = _plain_json(network_settings, "network_settings")
    settings = _plain_json(training or {}, "training")
    _check_plain(target, task, network, settings, recipe)
    skeleton = build_network(network, where=f"{target}")
    card = card or model_card(
        name=target.name,
        task=task,
        network=network,
        description=description,
        version=version,
        metrics=metrics,
        parameters=sum(p.numel() for p in skeleton.parameters()),
        receptive_field=receptive_field(skeleton),
        members=1 + len(members),
        evaluation=evaluation,
    )
    started_from = recipe.started_from if recipe is not None else {}
    card = origin_section(card, started_from)
    with new_folder(target) as work:
        write_file(work / INFERENCE, to_json(inference_config(task, network, 1 + len(members))))
        write_file(work / WEIGHTS, _weights(state_dict, half=half))
        listed = list(LISTED_FILES)
        for number, state in enumerate(members, start=1):
            write_file(work / MEMBER.format(number), _weights(state, half=half))
            listed.append(MEMBER.format(number))
        if input_check is not None:
            write_file(work / INPUT_CHECK, (json.dumps(input_check.to_dict(), allow_nan=False) + "\n").encode())
            listed.append(INPUT_CHECK)
        if recipe is not None:
            write_file(work / TRAIN, to_json(train_config(task, network, settings, recipe)))
            write_file(work / EVALUATE, to_json(evaluate_config(recipe)))
            listed += [TRAIN, EVALUATE]
        write_file(work / CARD, card.encode())
        write_file(work / DATA_LICENSE, (data_license.strip() + "\n").encode())
        write_file(work / LICENSE, (Path(__file__).parent / "apache-2.0.txt").read_bytes())
        metadata = metadata_config(
            name=target.name,
            task=task,
            network=network,
            description=description,
            bundle_version=version,
            metrics=_plain_json(metrics or {}, "metrics"),
            calibration=_plain_json(calibration or {}, "calibration"),
            training=settings,
            about=_plain_json(about or {}, "about"),
            files={name: sha256(work / name) for name in listed},
            members=1 + len(members),
            trained_on=trained_on,
            started_from=started_from,
        )
        write_file(work / METADATA, to_json(metadata))
    return load(target)


def seal(folder: str | os.PathLike[str], *, drop_rules: bool = False) -> Bundle:
    """Hash the files of a bundle anew after a deliberate change (an edited card, an added export), and load it.

    Every regular file below ``models``, ``configs`` and ``docs`` is listed then.

    Args:
        folder: of the bundle.
        drop_rules: take calibration and input check out of it. They were learnt from the weights that it was made
            with: with others the stated temperature, sets and limits are of another model.

    Raises:
        BundleError: the folder is no bundle, or no longer a valid one; ``bad_argument``: its weights are others than
            those that it was made with, and its rules are to stay.
    """
    root = Path(folder)
    path = member(root, METADATA)
    metadata = read_json(path)
    own = metadata.get("medattn")
    if not isinstance(own, dict):
        raise BundleError("bad_bundle", f"{path}: no 'medattn' part, so it is not a MedAttn bundle")
    if drop_rules:
        own["calibration"] = {}
    elif own.get("calibration") or (root / INPUT_CHECK).is_file():
        _check_same_weights(root, own)
    found = {p.relative_to(root).as_posix() for part in ("models", "configs", "docs") for p in (root / part).rglob("*")
             if p.is_file()} - {METADATA, *([INPUT_CHECK] if drop_rules else [])}  # fmt: skip
    names = [*LISTED_FILES, *sorted(found - set(LISTED_FILES))]
    own["files"] = {name: sha256(member(root, name)) for name in names}
    try:
        with replacing(path) as work:
            work.write_bytes(to_json(metadata))
        if drop_rules:  # only now: the manifest no longer names it
            (root / INPUT_CHECK).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    return load(root)


def _check_same_weights(root: Path, own: Mapping[str, Any]) -> None:
    """Refuse weights that are not those whose hashes the metadata has.

    Raises:
        BundleError: ``bad_argument``.
    """
    recorded = own.get("files")
    for name, digest in recorded.items() if isinstance(recorded, dict) else ():
        if re.fullmatch(OF_A_NETWORK, name) and sha256(member(root, name)) != digest:
            raise BundleError(
                "bad_argument",
                f"{root / name}: other weights than those that the calibration and the input check of the bundle are "
                "of; put the old ones back, or write these with save_bundle and rules of their own, or call "
                "seal(folder, drop_rules=True), which leaves it without any",
            )


def check_target(target: Path) -> None:
    """Refuse to write a bundle where something else lies.

    Raises:
        BundleError: ``bad_argument``.
    """
    try:
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise BundleError("bad_argument", f"{target}: exists and is no folder; choose another name for the bundle")
    except OSError as error:  # a name that is too long
        raise BundleError("bad_argument", f"{target}: {error.strerror}; choose another name for the bundle") from error
    if not target.is_dir() or not any(target.iterdir()):
        return
    listed = _listed(target)
    if listed is None:
        raise BundleError(
            "bad_argument",
            f"{target}: exists and is no bundle of MedAttn, so it is not replaced; choose another folder",
        )
    found = {path.relative_to(target) for path in target.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    others = sorted(path.as_posix() for path in found if path.as_posix() not in listed and path.name[0] != ".")
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise BundleError(
            "bad_argument",
            f"{target}: holds files that are not the bundle's ({others[0]}{more}), which would be lost with it; move "
            "them, or choose another folder",
        )


def _listed(folder: Path) -> set[str] | None:
    """Files of a bundle of ours, by its own list; None where it is none."""
    try:
        own = json.loads((folder / METADATA).read_text(encoding="utf-8"))["medattn"]
        return {METADATA, *map(str, own["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def as_stored(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they come back from a bundle that :func:`save_bundle` writes: rounded to half precision where large.

    What is measured with these is what the bundle gives. Once rounded they stay as they are when they are saved.
    """
    stored = _stored(state_dict, half=True)
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in stored.items()}


def _stored(state_dict: Mapping[str, Tensor], *, half: bool) -> dict[str, Tensor]:
    state = {}
    for name, value in state_dict.items():
        value = value.detach().cpu().contiguous().clone()
        large = value.dtype == torch.float32 and value.numel() >= HALF_FROM
        if half and large and float(value.abs().max()) < torch.finfo(torch.float16).max:
            value = value.half()
        state[name] = value
    return state


def _weights(state_dict: Mapping[str, Tensor], *, half: bool) -> bytes:
    state = _stored(state_dict, half=half)
    buffer = io.BytesIO()  # not the file: torch writes the file's name into the archive
    torch.save(state, buffer)
    return buffer.getvalue()


def _check_plain(
    target: Path, task: TaskSpec, network: Mapping[str, Any], training: Mapping[str, Any], recipe: Recipe | None
) -> None:
    """Refuse what MONAI would run or look up in a configuration: a label ``$...``, or the unit ``%``.

    Raises:
        BundleError: ``bad_bundle``.
    """
    sections = (recipe.section, recipe.scored_section, recipe.started_from) if recipe is not None else ()
    parts = (("task", task.to_dict()), ("network", network), ("training", training), ("data list", sections))
    for what, data in parts:
        if (text := would_be_evaluated(data)) is not None:
            raise BundleError(
                "bad_bundle",
                f"{target}: {text} in {what} would be code in the bundle's configurations, which MONAI runs; {PLAIN}",
            )


def _plain_json(data: Mapping[str, Any], what: str) -> Any:
    """The same as plain JSON data, or an error that names the argument."""
    try:
        return json.loads(json.dumps(dict(data), allow_nan=False, default=_number))
    except (TypeError, ValueError) as error:
        raise BundleError("bad_bundle", f"{what}: cannot be written as JSON ({error})") from error


def _number(value: Any) -> Any:
    """NumPy and torch scalars and arrays as Python numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    msg = f"{type(value).__name__} is neither a number, a text nor a list of them"
    raise TypeError(msg)


def to_json(data: dict[str, Any]) -> bytes:
    """Content of a JSON file, as every file of a bundle is written."""
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

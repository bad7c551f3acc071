"""`medattn bundle export`: a complete MONAI bundle, the same bytes each time."""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medattn_core.arguments import several
from medattn_core.bundles import FORMAT, Bundle, Recipe, check_target, load, load_networks
from medattn_core.bundles.bundle import (
    CARD,
    DATA_LICENSE,
    EVALUATE,
    INFERENCE,
    INPUT_CHECK,
    LICENSE,
    METADATA,
    TRAIN,
    WEIGHTS,
)
from medattn_core.bundles.files import read_json, sha256
from medattn_core.bundles.placing import new_folder
from medattn_core.bundles.plain import would_be_evaluated
from medattn_core.bundles.save import to_json, write_file
from medattn_core.datalists import TRAINING_SECTION
from medattn_core.errors import BundleError
from medattn_core.interop import configs, formats, schema, vendor
from medattn_core.interop.card import Measured, export_card, read_metrics
from medattn_core.networks.ensemble import PREFIX


def export(
    name_or_path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    self_contained: bool = False,
    torchscript: bool = False,
    onnx: bool = False,
    openvino: bool = False,
    metrics: str | os.PathLike[str] | None = None,
) -> Bundle:
    """Write a bundle that MONAI's tools run: every configuration and file they ask for.

    It is a MedAttn bundle too: ``Predictor`` and this function read it.

    Args:
        name_or_path: shipped name, or folder of a MedAttn bundle.
        output: folder to write; a bundle there is replaced. MONAI Label takes a task from the folder's name, which has
            to contain ``classification`` for it.
        self_contained: carry network, preprocessing and training in ``scripts``; nothing is imported from medattn.
        torchscript, onnx, openvino: further forms of the network, see :mod:`medattn_core.interop.formats`.
        metrics: metrics.json of `medattn evaluate`: these scores, with their intervals, become the documented ones.

    Raises:
        BundleError: the bundle is damaged, something else lies at ``output``, it lies inside the bundle, or a format
            cannot be made.
        MedAttnError: ``missing_dependency``.
    """
    bundle = load(name_or_path)
    target = Path(output)
    check_target(target)
    where, source = target.resolve(), bundle.path.resolve()
    if where.is_relative_to(source):
        what = "is the bundle itself" if where == source else f"lies inside the bundle to export, {source}"
        raise BundleError("bad_argument", f"{target}: {what}; choose another output folder")
    metadata = metadata_of(bundle)
    wanted = tuple(n for n, on in (("torchscript", torchscript), ("onnx", onnx), ("openvino", openvino)) if on)
    measured = read_metrics(Path(metrics), bundle) if metrics is not None else None
    contents = contents_of(bundle)
    with new_folder(target) as work:
        write_file(work / WEIGHTS, weights_file(bundle))
        for name, text in config_files(contents, self_contained=self_contained).items():
            write_file(work / name, text)
        if self_contained:
            for name, script in scripts(contents).items():
                write_file(work / vendor.SCRIPTS / name, script.encode())
        for name in (LICENSE, DATA_LICENSE, *((INPUT_CHECK,) if bundle.input_check is not None else ())):
            write_file(work / name, (bundle.path / name).read_bytes())
        card = export_card(
            bundle, formats=wanted, self_contained=self_contained, data_list=contents.recipe.data_list, metrics=measured
        )
        write_file(work / CARD, card.encode())
        _write_metadata(work, metadata, bundle, self_contained=self_contained, metrics=measured)
        if wanted:
            formats.make(work, wanted)
            _write_metadata(work, metadata, bundle, self_contained=self_contained, metrics=measured)
    return load(target)


def metadata_of(bundle: Bundle) -> dict[str, Any]:
    """A copy of the metadata of a bundle, with what an older one does not have.

    Raises:
        BundleError: ``bad_bundle``: it is not what MONAI's schemas ask for.
    """
    metadata: dict[str, Any] = json.loads(json.dumps(bundle.metadata))
    metadata.setdefault("required_packages_version", metadata.get("optional_packages_version", {}))
    if isinstance(changelog := metadata.setdefault("changelog", {}), dict):
        changelog.setdefault(bundle.version, "exported")
    if found := schema.problems(metadata):
        raise BundleError(
            "bad_bundle",
            f"{bundle.path / METADATA}: {'; '.join(found[:5])}; copy the bundle again, or correct what was changed",
        )
    return metadata


def contents_of(bundle: Bundle) -> configs.Contents:
    """What the configurations of an exported bundle are made from: data of the bundle, nothing evaluated.

    Raises:
        BundleError: ``bad_bundle``: something in the data would be code in a configuration.
    """
    members = max(bundle.stacked, 1 + len(bundle.members))
    training = bundle.metadata["medattn"].get("training", {})
    if not isinstance(training, dict):
        raise BundleError("bad_bundle", f"{bundle.path / METADATA}: medattn.training is no object")
    recipe = _recipe(bundle)
    for file, what, data in (
        (METADATA, "medattn.task", bundle.task.to_dict()),
        (METADATA, "medattn.network", bundle.network),
        (METADATA, "medattn.training", training),
        (TRAIN, "section", recipe.section),
        (EVALUATE, "section", recipe.scored_section),
        (METADATA, "medattn.started_from", recipe.started_from),
    ):
        if (text := would_be_evaluated(data)) is not None:
            raise BundleError(
                "bad_bundle",
                f"{bundle.path / file}: {text} under {what} would be evaluated by MONAI; it was not; do not use the "
                "bundle",
            )
    return configs.Contents(task=bundle.task, network=bundle.network, members=members, recipe=recipe, training=training)


def config_files(contents: configs.Contents, *, self_contained: bool) -> dict[str, bytes]:
    """Path in the bundle to content of every configuration but metadata.json."""
    files = {
        INFERENCE: configs.inference(contents),
        TRAIN: configs.train(contents),
        EVALUATE: configs.evaluate(contents),
        configs.MULTI_GPU_TRAIN: configs.multi_gpu_train(contents),
    }
    if self_contained:
        files = {name: vendor.relocate(config) for name, config in files.items()}
    return {name: to_json(config) for name, config in files.items()} | {configs.LOGGING: configs.LOGGING_CONF.encode()}


def scripts(contents: configs.Contents) -> dict[str, str]:
    """Files of ``scripts``: what the configurations name, and all it imports."""
    made = (configs.inference(contents), configs.train(contents), configs.evaluate(contents))
    return vendor.vendor(set().union(*(vendor.targets(config) for config in made)))


def weights_file(bundle: Bundle) -> bytes:
    """Content of ``models/model.pt``: the bundle's own file, or of an ensemble all members in one.

    Raises:
        BundleError: as :func:`medattn_core.bundles.load_networks`.
    """
    load_networks(bundle)  # checks hashes, types and fit of every file
    if not bundle.members:
        return bundle.weights_path.read_bytes()
    stacked: dict[str, torch.Tensor] = {}
    for number, path in enumerate((bundle.weights_path, *(path for path, _ in bundle.members))):
        state = torch.load(path, map_location="cpu", weights_only=True)
        stacked |= {f"{PREFIX}{number}.{name}": value for name, value in state.items()}
    buffer = io.BytesIO()
    torch.save(stacked, buffer)
    return buffer.getvalue()


def _recipe(bundle: Bundle) -> Recipe:
    """How it was trained, from two configurations as data; what they do not state is what training would choose."""
    task = bundle.task
    training, scoring = (
        read_json(bundle.path / name) if (bundle.path / name).is_file() else {} for name in (TRAIN, EVALUATE)
    )
    # Newer bundles name the list as data, older ones within the expression. Its folder is that of `dataset_dir`.
    named = re.fullmatch(r"(?:.*[/\\])?([^/\\]+)", str(training.get("data_name", ""))) or re.search(
        r"'/?([\w][\w.\- ]*)'\)?$", str(training.get("data_list", ""))
    )
    size, hold_out = (_under(training, "train", "dataset", name) for name in ("size", "hold_out"))
    section = _under(training, "train", "dataset", "section")
    # As training writes it, or as an export does.
    scored = _under(scoring, "metrics", "section") or _under(scoring, "validate", "data", "section")
    good = isinstance(size, list) and len(size) == task.spatial_dims and all(isinstance(n, int) for n in size)
    if not good:
        extent = 224 if task.spatial_dims == 2 else 96
        view = [round((task.field_of_view or 0) / s) or extent for s in task.spacing]
        size = list(task.size) if task.size is not None else [max(1, math.ceil(n / 32 - 1e-3)) * 32 for n in view]
    if not isinstance(hold_out, int) or isinstance(hold_out, bool):
        hold_out = None
    return Recipe(
        data_list=named[1] if named else "datalist.json",
        size=tuple(size or ()),
        hold_out=hold_out,
        section=section if isinstance(section, str) else TRAINING_SECTION,
        scored_section=scored if isinstance(scored, str) else None,
        watched=_under(training, "train", "held_out") is not None,
        started_from=_started_from(bundle),
    )


def _started_from(bundle: Bundle) -> dict[str, str]:
    """The bundle that it was trained from, as texts; empty where none is named."""
    stated = bundle.metadata["medattn"].get("started_from", {})
    keys = ("name", "version", "weights")
    whole = isinstance(stated, dict) and all(isinstance(stated.get(key), str) for key in keys)
    return {key: stated[key] for key in keys} if whole else {}


def _under(config: Any, *keys: str) -> Any:
    """What lies under the keys of a configuration; None where nothing does."""
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _write_metadata(
    work: Path, stated: dict[str, Any], bundle: Bundle, *, self_contained: bool, metrics: Measured | None
) -> None:
    """``configs/metadata.json`` from what :func:`metadata_of` gives, with the hash of every other file."""
    metadata = json.loads(json.dumps(stated))
    own = metadata["medattn"]
    members = max(bundle.stacked, 1 + len(bundle.members))
    own["format"] = FORMAT if members > 1 else 1
    if members > 1:
        own |= {"members": members, "stacked": True}
    packages = dict(metadata["required_packages_version"] or metadata.get("optional_packages_version", {}))
    if self_contained:
        packages.pop("medattn", None)
    metadata["required_packages_version"] = metadata["optional_packages_version"] = packages
    if metrics is not None:
        metadata["eval_metrics"] = dict(metrics.scores)
    files = sorted(path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file())
    own["files"] = {name: sha256(work / name) for name in files if name != METADATA}
    write_file(work / METADATA, to_json(metadata))


def describe(bundle: Bundle, wanted: str | Sequence[str] = ()) -> list[str]:
    """Lines for a person after an export."""
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    lines = [
        ", ".join(
            [
                f"{bundle.path}: {bundle.name} {bundle.version}",
                f"{size / 1e6:.1f} MB",
                *several("wanted", wanted, of="names"),
            ]
        )
    ]
    if bundle.task.kind != "regression" and "classification" not in bundle.path.resolve().name.lower():
        lines.append(
            "MONAI Label takes the task from the folder's name: for it, export to a folder whose name contains "
            "'classification'"
        )
    return lines

"""The configuration files of a bundle, as data: metadata, inference, train and evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from medattn_core.bundles.bundle import FORMAT, MEMBER, SCHEMA, WEIGHTS, Recipe
from medattn_core.datalists import TRAINING_SECTION
from medattn_core.tasks import TaskSpec

INTENDED_USE = "Research use only. Not a medical device; not for diagnosis or treatment decisions."


def installed(package: str) -> str:
    """Version of an installed package, or ``unknown``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def metadata_config(
    *,
    name: str,
    task: TaskSpec,
    network: dict[str, Any],
    description: str,
    bundle_version: str,
    metrics: dict[str, Any],
    calibration: dict[str, Any],
    training: dict[str, Any],
    about: dict[str, Any],
    files: dict[str, str],
    members: int = 1,
    trained_on: str = "",
    started_from: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """``configs/metadata.json``: MONAI's keys (schema 20240725, and those that 20220324 asks for) and ours."""
    packages = {package: installed(package) for package in ("medattn", "nibabel", "SimpleITK")}
    return {
        "changelog": {bundle_version: "as trained"},
        "authors": "the people who trained this bundle",
        "copyright": "the authors; see LICENSE and docs/data_license.txt",
        "references": [],
        "intended_use": INTENDED_USE,
        "task": f"{task.kind} of {', '.join(task.modality) or 'any'} images: {', '.join(task.labels)}",
        "data_type": "NIfTI, NRRD, MetaImage, DICOM" + ("" if task.spatial_dims == 3 else ", PNG, JPEG"),
        "image_classes": f"channel 0: {', '.join(task.modality) or 'image'}"
        if len(task.channels) == 1
        else ", ".join(f"channel {i}: {name}" for i, name in enumerate(task.channels)),
        "pred_classes": ", ".join(f"channel {i}: {label}" for i, label in enumerate(task.labels)),
        **about,
        "schema": SCHEMA,
        "name": name,
        "version": bundle_version,
        "description": description,
        "monai_version": installed("monai"),
        "pytorch_version": installed("torch"),
        "numpy_version": installed("numpy"),
        "required_packages_version": packages,
        "optional_packages_version": packages,  # its name in the older schema
        "eval_metrics": metrics,
        "network_data_format": _io(task),
        "medattn": {
            "format": FORMAT if members > 1 else 1,  # older readers know single models
            **({"members": members} if members > 1 else {}),
            "task": task.to_dict(),
            "network": network,
            "calibration": calibration,
            "training": training,
            **({"trained_on": trained_on} if trained_on else {}),
            **({"started_from": dict(started_from)} if started_from else {}),
            "files": files,
        },
    }


def _io(task: TaskSpec) -> dict[str, Any]:
    shape: list[str | int] = ["32*n"] * task.spatial_dims if task.size is None else list(task.size)
    channels = {str(i): label for i, label in enumerate(task.labels)}
    probabilities = task.activation != "identity"
    output: dict[str, Any] = {
        "type": "logits" if probabilities else "values",
        "format": "classes" if probabilities else (task.unit or "values"),
        "num_channels": len(task.labels),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": channels,
    }
    final = {**output, "type": "probabilities", "value_range": [0, 1]} if probabilities else output
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "hounsfield" if task.modality == ("CT",) else "magnitude",
                "modality": ", ".join(task.modality),
                "num_channels": len(task.channels),
                "spatial_shape": [*shape, "*"] if task.slicewise else shape,
                "dtype": "float32",
                "value_range": [0, max(rule.top for rule in task.intensities)],
                "is_patch_data": False,
                "channel_def": {str(i): name for i, name in enumerate(task.channels)},
            }
        },
        "outputs": {"pred": output},
        "post_processed_outputs": {"pred": final},
    }


def network_part(network: dict[str, Any], members: int = 1) -> dict[str, Any]:
    """The network of a bundle; of an ensemble all members as one module."""
    if members > 1:
        return {"_target_": "medattn_core.networks.ensemble.AttentionEnsemble", "members": members, **network}
    return {"_target_": "medattn_core.networks.attention_cnn.AttentionCNN", **network}


def inference_config(task: TaskSpec, network: dict[str, Any], members: int = 1) -> dict[str, Any]:
    """``configs/inference.json`` for MONAI's engines: the same conform, network and activation as ``Predictor``.

    The task and the network are written out rather than referred to in metadata.json: some readers of bundles
    (MONAI Label) parse this file alone.
    """
    files = [WEIGHTS, *(MEMBER.format(number) for number in range(1, members))]
    parts = ["@network"] if members == 1 else [f"$@network.members[{number}]" for number in range(members)]
    activation = {"softmax": {"softmax": True}, "sigmoid": {"sigmoid": True}}.get(task.activation)
    # The channels of a case are the files of its folder, in the order of their names.
    image = "path" if len(task.channels) == 1 else "sorted(glob.glob(glob.escape(path) + '/*'))"
    postprocessing = [{"_target_": "Activationsd", "keys": "pred", **activation}] if activation else []
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": network_part(network, members),
        "network": "$@network_def.to(@device)",
        "data": f"$[{{'image': {image}}} for path in sorted(glob.glob(@dataset_dir + '/*'))]",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "medattn_core.transforms.dictionary.ConformD",
                    "keys": "image",
                    "task": task.to_dict(),
                }
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": postprocessing},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": f"$@bundle_root + '/{file}'",
                "load_dict": {"model": part},
            }
            for file, part in zip(files, parts, strict=True)
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def train_config(task: TaskSpec, network: dict[str, Any], training: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """``configs/train.json``: the training of ``medattn train``, started by MONAI; one network, not yet calibrated.

    The new weights go to ``models/retrained.pt``: those of the bundle stay what its manifest says.
    """
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "dataset_dir": ".",
        **data_list(recipe),
        "output": "$@bundle_root + '/models/retrained.pt'",
        "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
        "task": task.to_dict(),
        "training": training,
        "network_def": network_part(network),
        "train": train_part(recipe, training),
        "initialize": [seeding(training)],
        "run": ["$@train::trainer.run()"],
        "finalize": ["$torch.save(@train::trainer.result().state_dict(), @output)"],
    }


def seeding(training: dict[str, Any]) -> str:
    """What makes the first weights those of the seed, an overridden one too."""
    return f"$torch.manual_seed({'@training#seed' if 'seed' in training else 0})"


def train_part(recipe: Recipe, training: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    """Data and trainer of ``configs/train.json``, here and in an export; with the held-out cases if they were watched.

    Args:
        recipe: how the bundle was trained.
        training: its settings, as they stand in the configuration, where they may be overridden.
        trainer: further arguments of the trainer.
    """
    held_out, validation = {}, {}
    if recipe.watched:
        held_out = {"held_out": _prepared(recipe, scored(recipe), only=recipe.hold_out)}
        validation = {"validation": "@train::held_out"}
    return {
        "dataset": _prepared(recipe, recipe.section, hold_out=recipe.hold_out),
        **held_out,
        "inferer": {"_target_": "SimpleInferer"},
        "trainer": {
            "_target_": "medattn_core.training.loop.trainer_of",
            "network": "@network_def",
            "data": "@train::dataset",
            "task": "@task",
            "config": "@training",
            # Federated learning looks for it here. Settings that do not name it train for 40.
            "max_epochs": "@training#epochs" if "epochs" in training else 40,
            "device": "@device",
            **({"started_from": recipe.started_from} if recipe.started_from else {}),
            **trainer,
            **validation,
        },
    }


def scored(recipe: Recipe) -> str:
    """The list within a JSON data list that the held-out cases are in."""
    return recipe.scored_section or recipe.section


def section_part(section: str) -> dict[str, str]:
    """The argument ``section`` of a reader of lists, where it is not what the reader takes anyway."""
    return {} if section == TRAINING_SECTION else {"section": section}


def _prepared(recipe: Recipe, section: str, **fold: int | None) -> dict[str, Any]:
    return {
        "_target_": "medattn_core.training.data.prepare_list",
        "path": "@data_list",
        "task": "@task",
        "size": list(recipe.size),
        **fold,
        **section_part(section),
    }


def data_list(recipe: Recipe) -> dict[str, str]:
    """Its name as plain data: within an expression a quote or an at sign would be code."""
    return {"data_name": f"./{recipe.data_list}", "data_list": "$@dataset_dir + '/' + @data_name"}


def evaluate_config(recipe: Recipe) -> dict[str, Any]:
    """``configs/evaluate.json``: the measures of ``medattn evaluate`` on what was held out, started by MONAI."""
    # Unlike other readers `evaluate` takes no list for granted, and wants none named of a CSV.
    section = {} if recipe.scored_section is None else {"section": recipe.scored_section}
    return {
        "bundle_root": ".",
        "dataset_dir": ".",
        **data_list(recipe),
        "output_dir": "$@bundle_root + '/evaluation'",
        "metrics": {
            "_target_": "medattn_core.evaluation.evaluate",
            "bundle": "@bundle_root",
            "data": "@data_list",
            "output": "@output_dir",
            "fold": recipe.hold_out,
            **section,
        },
        "run": ["@metrics"],
    }

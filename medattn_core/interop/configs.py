"""The configurations of an exported bundle, as data: everything MONAI's tools ask for, and nothing they would not run.

Names and places are those of MONAI's bundle specification; which tool needs which is in docs/bundles.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medattn_core.bundles import Recipe
from medattn_core.bundles.configs import data_list, network_part, scored, section_part, seeding, train_part
from medattn_core.tasks import TaskSpec

MULTI_GPU_TRAIN = "configs/multi_gpu_train.json"
LOGGING = "configs/logging.conf"

DEVICE = "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')"

LOGGING_CONF = """\
[loggers]
keys=root

[handlers]
keys=consoleHandler

[formatters]
keys=fullFormatter

[logger_root]
level=INFO
handlers=consoleHandler

[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=fullFormatter
args=(sys.stdout,)

[formatter_fullFormatter]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the configurations of a bundle are made from.

    Attributes:
        task: what the model takes and gives.
        network: keyword arguments of AttentionCNN.
        members: networks in ``models/model.pt``.
        recipe: how it was trained.
        training: record of the training settings.
    """

    task: TaskSpec
    network: dict[str, Any]
    members: int
    recipe: Recipe
    training: dict[str, Any]

    @property
    def network_def(self) -> dict[str, Any]:
        """The network that ``models/model.pt`` belongs to."""
        return network_part(self.network, self.members)

    @property
    def one_network(self) -> dict[str, Any]:
        """A single network, which is what a training makes."""
        return network_part(self.network)


def inference(contents: Contents) -> dict[str, Any]:
    """``configs/inference.json``: a folder of inputs in, a table and evidence maps out."""
    task = contents.task
    return {
        "imports": ["$import os"],
        "bundle_root": ".",
        "dataset_dir": "$os.path.join(@bundle_root, 'input')",
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "ckpt_path": "$os.path.join(@bundle_root, 'models', 'model.pt')",
        "device": DEVICE,
        "network_def": contents.network_def,
        "network": "$@network_def.to(@device)",
        "data": {
            "_target_": "medattn_core.interop.engine.inputs_in",
            "folder": "@dataset_dir",
            "channels": len(task.channels),
            "output": "@output_dir",
        },
        "preprocessing": _preprocessing(task),
        "dataset": {
            "_target_": "medattn_core.interop.scans.Scans",
            "data": "@data",
            "transform": "@preprocessing",
            "task": task.to_dict(),
        },
        "dataloader": _loader(),
        "inferer": {"_target_": "medattn_core.interop.engine.EvidenceInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": [_ensure(), *_activation(task)]},
        "handlers": [
            {
                "_target_": "medattn_core.interop.results.SaveResults",
                "output_dir": "@output_dir",
                "task": task.to_dict(),
                "inferer": "@inferer",
                "metadata": "$os.path.join(@bundle_root, 'configs', 'metadata.json')",
                "inputs": "@data",
            }
        ],
        "evaluator": _evaluator(),
        "load": {
            "_target_": "medattn_core.interop.engine.load_weights",
            "network": "@network",
            "path": "@ckpt_path",
        },
        "initialize": ["@load"],
        "run": ["$@evaluator.run()"],
    }


def evaluate(contents: Contents) -> dict[str, Any]:
    """``configs/evaluate.json``: a data list in, ``metrics.json`` of what was held out of it.

    Scored on logits, as the documented metrics are. All of it stands under ``validate``, where federated learning looks
    when it lays this file over ``train.json``, and switches the loader of the weights off. Its empty lists stand in
    place of those of ``train.json`` there: an evaluation neither seeds nor saves weights.
    """
    task = contents.task
    config = inference(contents)
    for name in ("data", "preprocessing", "dataloader", "postprocessing", "handlers", "load"):
        del config[name]
    config |= {"dataset_dir": ".", **data_list(contents.recipe)}
    return config | {
        "validate": {
            "data": {
                "_target_": "medattn_core.interop.scores.cases_of",
                "path": "@data_list",
                "task": task.to_dict(),
                "fold": contents.recipe.hold_out,
                **section_part(scored(contents.recipe)),
            },
            "preprocessing": _preprocessing(task),
            "dataset": {"_target_": "Dataset", "data": "@validate#data", "transform": "@validate#preprocessing"},
            "dataloader": _loader("@validate#dataset"),
            "inferer": "@inferer",
            "postprocessing": {"_target_": "Compose", "transforms": [_ensure()]},
            "handlers": [
                {"_target_": "CheckpointLoader", "load_path": "@ckpt_path", "load_dict": {"model": "@network"}},
                {
                    "_target_": "medattn_core.interop.scores.Scores",
                    "output_dir": "@output_dir",
                    "task": task.to_dict(),
                },
            ],
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "network": "@network",
                "inferer": "@validate#inferer",
                "postprocessing": "@validate#postprocessing",
                "val_handlers": "@validate#handlers",
            },
        },
        "dataset": "@validate#dataset",
        "evaluator": "@validate#evaluator",
        "initialize": [],
        "run": ["$@validate#evaluator.run()"],
        "finalize": [],
    }


def train(contents: Contents) -> dict[str, Any]:
    """``configs/train.json``: the training of ``medattn train``, started by MONAI; one network, not yet calibrated.

    The new weights go to ``models/retrained.pt``: those of the bundle stay what its manifest says. The checkpoint of
    each epoch lies beside them; ``--resume True`` continues from it.
    """
    recipe, training = contents.recipe, contents.training
    return {
        "imports": ["$import os", "$import pathlib"],
        "bundle_root": ".",
        "dataset_dir": ".",
        **data_list(recipe),
        "output": "$os.path.join(@bundle_root, 'models', 'retrained.pt')",
        "checkpoint": "$os.path.join(@bundle_root, 'models', 'checkpoint.pt')",
        "resume": False,
        "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
        "task": contents.task.to_dict(),
        "training": training,
        "network_def": contents.one_network,
        "train": train_part(
            recipe,
            training,
            checkpoint="$pathlib.Path(@checkpoint)",
            resume="@resume",
        ),
        "initialize": [seeding(training)],
        "run": ["$@train::trainer.done or @train::trainer.run()"],
        "finalize": ["$torch.save(@train::trainer.result().state_dict(), @output)"],
    }


def multi_gpu_train(contents: Contents) -> dict[str, Any]:
    """``configs/multi_gpu_train.json``: laid over train.json under torchrun. Each process takes its part of a batch.

    The trainer divides the batches and gathers the statistics itself; what is left is the device of each process, and
    that one of them writes.
    """
    rank = "torch.distributed.get_rank()"
    return {
        "device": "$'cuda:' + os.environ['LOCAL_RANK'] if torch.cuda.is_available() else 'cpu'",
        "initialize": [
            "$torch.distributed.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')",
            "$torch.cuda.set_device(@device) if torch.cuda.is_available() else None",
            seeding(contents.training),
        ],
        "finalize": [
            f"$torch.save(@train::trainer.result().state_dict(), @output) if {rank} == 0 else None",
            "$torch.distributed.destroy_process_group()",
        ],
    }


def _preprocessing(task: TaskSpec) -> dict[str, Any]:
    conform = {"_target_": "medattn_core.transforms.dictionary.ConformD", "keys": "image", "task": task.to_dict()}
    return {"_target_": "Compose", "transforms": [conform]}


def _loader(dataset: str = "@dataset") -> dict[str, Any]:
    return {"_target_": "DataLoader", "dataset": dataset, "batch_size": 1, "num_workers": 0}


def _ensure() -> dict[str, Any]:
    # MONAI Label reads the scores as `.array`, which a MetaTensor has and a plain tensor has not.
    return {"_target_": "EnsureTyped", "keys": "pred", "track_meta": True}


def _activation(task: TaskSpec) -> list[dict[str, Any]]:
    if task.activation == "identity":
        return []
    return [{"_target_": "Activationsd", "keys": "pred", task.activation: True}]


def _evaluator() -> dict[str, Any]:
    return {
        "_target_": "medattn_core.interop.engine.evaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
    }

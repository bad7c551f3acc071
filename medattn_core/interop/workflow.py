"""``python -m medattn_core.interop.workflow BUNDLE SCANS RESULTS``: a bundle by MONAI's own means, in its own process.

It evaluates the bundle's configurations: only for bundles whose code is this package's own, or trusted. Prints one
line of JSON: properties of each configuration that are missing and that are wrong, the outputs of the inputs in the
folder SCANS in their order.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from medattn_core.errors import BundleError

TIME_LIMIT = 1800
"""Seconds."""

MADE = ("network_def", "trainer", "train_dataset", "train_inferer", "evaluator", "dataset", "inferer")
"""Properties that MONAI makes an object of."""


def run_apart(root: Path, scans: Path, results: Path) -> dict[str, Any]:
    """Run :func:`run` in a process of its own, outside the bundle.

    Raises:
        BundleError: ``bad_bundle``: MONAI could not run it.
    """
    command = [
        sys.executable,
        "-m",
        "medattn_core.interop.workflow",
        *(str(p.resolve()) for p in (root, scans, results)),
    ]
    # Not in the caller's folder: one named `scripts` there would be taken for the bundle's.
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=elsewhere, timeout=TIME_LIMIT,
                env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise BundleError("bad_bundle", f"{root}: MONAI took more than {TIME_LIMIT} s to run it") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        causes = [line for line in lines if "Error" in line and not line.startswith(" ")] or lines or ["no message"]
        raise BundleError("bad_bundle", f"{root}: MONAI could not run it: {causes[0][:300]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def run(root: Path, scans: Path, results: Path) -> dict[str, Any]:
    """Check the properties of every configuration, run `inference.json`, and say what came out."""
    import numpy as np
    from monai.bundle import ConfigWorkflow

    from medattn_core.interop.engine import Handler

    outputs: list[Any] = []

    class Note(Handler):
        """The engine itself keeps the last batch alone."""

        def __call__(self, engine: Any) -> None:
            outputs.extend(np.asarray(item["pred"]).reshape(-1).tolist() for item in engine.state.output)

    sys.path.insert(0, str(root))
    missing, wrong = properties_of(root)
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "inference.json"),
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(root),
        dataset_dir=str(scans),
        output_dir=str(results),
    )
    workflow.initialize()
    missing["inference"] = workflow.check_properties() or []
    evaluator = workflow.evaluator
    if hasattr(evaluator, "add_event_handler"):
        Note().attach(evaluator)
    else:  # the plain loop of a bundle, where ignite is not installed
        evaluator.handlers.append(Note())
    workflow.run()
    workflow.finalize()
    return {"missing": missing, "wrong": wrong, "outputs": outputs}


def properties_of(root: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What MONAI asks of the configurations that are not run: as data, since their data sets are not here.

    Returns:
        By configuration the names of missing properties, and the places of those that no object can be made of.
    """
    from monai.bundle import ConfigParser
    from monai.bundle.properties import InferProperties, TrainProperties
    from monai.utils import BundleProperty
    from monai.utils import BundlePropertyConfig as Part

    asked: dict[str, tuple[tuple[str, ...], Any]] = {
        "train": (("train",), TrainProperties),
        "evaluate": (("evaluate",), InferProperties),
        "multi_gpu_train": (("train", "multi_gpu_train"), TrainProperties),  # laid over the training
    }
    missing: dict[str, list[str]] = {}
    wrong: dict[str, list[str]] = {}
    for name, (names, properties) in asked.items():
        files = [root / "configs" / f"{one}.json" for one in names]
        if all(file.is_file() for file in files):
            parser = ConfigParser()
            parser.read_config([str(file) for file in files])
            places = {key: str(p[Part.ID]) for key, p in properties.items()}
            required = [key for key, p in properties.items() if p[BundleProperty.REQUIRED]]
            missing[name] = [key for key in required if parser.get(places[key]) is None]
            wrong[name] = [places[key] for key in MADE if key in places and not makes(parser, places[key])]
    return missing, wrong


def makes(parser: Any, place: str) -> bool:
    """Whether a place of a configuration is something that makes an object, as far as data can tell; or not there.

    Args:
        parser: MONAI's, which has read the configuration. Nothing in it is evaluated.
        place: such as ``train::dataset``.
    """
    value = parser.get(place)
    followed: set[str] = set()
    while isinstance(value, str) and value.startswith("@") and value not in followed:
        followed.add(value)
        value = parser.get(value[1:])
    if isinstance(value, str):
        # An expression, a macro, a relative name: as MONAI sees them, which a blank in front of them hides.
        return value.startswith(("$", "%", "@#", "@::"))
    return (value is None and not followed) or (isinstance(value, dict) and "_target_" in value)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(json.dumps(run(*(Path(argument) for argument in sys.argv[1:4]))))

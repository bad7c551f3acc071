"""``python -m medattn_core.interop.workflow BUNDLE SCANS RESULTS``: a bundle by MONAI's own means, in its own process.

It evaluates the bundle's configurations: only for bundles whose code is this package's own, or trusted. Prints one
line of JSON: missing properties of each configuration, the outputs of the inputs in the folder SCANS in their order.
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
    from monai.bundle import ConfigParser, ConfigWorkflow
    from monai.bundle.properties import InferProperties, TrainProperties
    from monai.utils import BundleProperty
    from monai.utils import BundlePropertyConfig as Part

    from medattn_core.interop.engine import Handler

    outputs: list[Any] = []

    class Note(Handler):
        """The engine itself keeps the last batch alone."""

        def __call__(self, engine: Any) -> None:
            outputs.extend(np.asarray(item["pred"]).reshape(-1).tolist() for item in engine.state.output)

    sys.path.insert(0, str(root))
    properties = {"inference": InferProperties, "evaluate": InferProperties, "train": TrainProperties}
    missing: dict[str, list[str]] = {}
    for name in ("train", "evaluate"):
        if (root / "configs" / f"{name}.json").is_file():
            parser = ConfigParser()
            parser.read_config(str(root / "configs" / f"{name}.json"))
            # By name: `check_properties` would build the data set, whose scans are not here.
            required = {key: str(p[Part.ID]) for key, p in properties[name].items() if p[BundleProperty.REQUIRED]}
            missing[name] = [key for key, place in required.items() if parser.get(place) is None]
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
    return {"missing": missing, "outputs": outputs}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(json.dumps(run(*(Path(argument) for argument in sys.argv[1:4]))))

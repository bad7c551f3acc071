"""Exported bundles in MONAI's own hands, offline and from a directory outside the bundle."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medattn_core.bundles import Bundle, load
from medattn_core.inference import Predictor
from medattn_core.interop.parity import TOLERANCE
from medattn_core.interop.results import DECISION, columns, row_of, without_input_check
from medattn_core.tasks import TaskSpec
from tests.interop.conftest import EVERY, MODELS, SMALL, Exports, available, untouched

pytest.importorskip("ignite")

ROOT = Path(__file__).resolve().parents[2]


def command_line(*arguments: str, cwd: Path) -> str:
    """``python -m monai.bundle ...`` without a network; its output, after it ended well."""
    pytest.importorskip("fire")
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", *arguments], capture_output=True, text=True, check=False, cwd=cwd,
        env={**os.environ, **proxies, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def files_of(root: Path, name: str = "inference") -> list[str]:
    return ["--config_file", str(root / f"configs/{name}.json"), "--meta_file", str(root / "configs/metadata.json"),
            "--bundle_root", str(root)]  # fmt: skip


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measured(task: TaskSpec) -> list[str]:
    """Columns of the numbers, in the order of the labels."""
    return ["value"] if task.kind == "regression" else [f"probability_{label}" for label in task.labels]


def check_results(bundle: Bundle, scans: Path, results: Path) -> None:
    """The table says what Predictor says, and there is a map for each input."""
    predictor = Predictor.from_bundle(bundle, device="cpu")
    found = rows(results)
    assert list(found[0]) == columns(bundle.task)
    assert [Path(row["input"]).name for row in found] == sorted(path.name for path in scans.iterdir())
    for row in found:
        prediction = predictor(row["input"])
        values = [row[name] for name in measured(bundle.task)]
        wanted = bundle.task.probabilities(prediction.logits)
        np.testing.assert_allclose(np.array(values, float), wanted, rtol=TOLERANCE, atol=TOLERANCE)
        said = row_of(without_input_check(prediction))
        assert {name: row[name] for name in DECISION} == {name: said.get(name, "") for name in DECISION}
    assert len(list(results.glob("*_evidence.nii.gz"))) == len(found)


@pytest.mark.parametrize(
    ("name", "self_contained"),
    [("blob_size", True), *(pytest.param(n, s, marks=pytest.mark.slow) for n in EVERY for s in (False, True))],
)
def test_run(exports: Exports, scans: dict[str, Path], tmp_path: Path, name: str, self_contained: bool) -> None:
    bundle = exports(name, self_contained=self_contained)
    out = tmp_path / "results"
    arguments = [*files_of(bundle.path), "--dataset_dir", str(scans[name]), "--output_dir", str(out)]
    command_line("run", *arguments, cwd=tmp_path)
    check_results(bundle, scans[name], out)
    assert not (bundle.path / "eval").exists(), "results belong where the user said"


@pytest.mark.slow
@pytest.mark.parametrize("self_contained", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_verify_and_export_by_command_line(
    exports: Exports, shared_data: Path, tmp_path: Path, name: str, self_contained: bool
) -> None:
    schemas = shared_data.parent / "schemas"
    if not schemas.is_dir():
        pytest.skip("MONAI's schemas lie not beside this checkout")
    root = exports(name, self_contained=self_contained).path
    schema = tmp_path / "meta_schema_20240725.json"
    shutil.copy(schemas / schema.name, schema)
    said = command_line("verify_metadata", *files_of(root)[2:4], "--filepath", str(schema), cwd=tmp_path)
    assert "metadata is verified with no error" in said
    said = command_line("verify_net_in_out", "--net_id", "network_def", *files_of(root), cwd=tmp_path)
    assert "data shape of network is verified with no error" in said
    weights = ["--ckpt_file", str(root / "models/model.pt")]
    script = tmp_path / "model.ts"
    command_line("ckpt_export", "--net_id", "network_def", "--filepath", str(script), *weights, *files_of(root),
                 cwd=tmp_path)  # fmt: skip
    assert set(torch.jit.load(script).attend(torch.rand(shape_of(name)))._fields) >= {"logits", "contributions"}
    if available("onnx"):
        graph = tmp_path / "model.onnx"
        command_line("onnx_export", "--net_id", "network_def", "--filepath", str(graph), *weights, *files_of(root),
                     cwd=tmp_path)  # fmt: skip
        assert graph.stat().st_size > 10_000


def shape_of(name: str) -> tuple[int, ...]:
    from medattn_core.interop.formats import example_shape

    return example_shape(load(name).task) if name not in SMALL else (1, 1, 24, 24, 24)


@pytest.mark.parametrize("name", MODELS)
def test_monais_checks_in_process(exports: Exports, name: str) -> None:
    """What the command line above calls, without a process each: this is the quick one."""
    from monai.bundle import verify_net_in_out

    root = exports(name).path
    verify_net_in_out(
        net_id="network_def", meta_file=str(root / "configs/metadata.json"),
        config_file=str(root / "configs/inference.json"), device="cpu",
    )  # fmt: skip


def workflow(root: Path, config: str, kind: str, **override: Any) -> Any:
    from monai.bundle import create_workflow

    return create_workflow(
        config_file=str(root / f"configs/{config}.json"), meta_file=str(root / "configs/metadata.json"),
        workflow_type=kind, logging_file=False, bundle_root=str(root), **override,
    )  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_no_property_is_missing(
    exports: Exports, scans: dict[str, Path], lists: dict[str, Path], tmp_path: Path, name: str
) -> None:
    root, data = exports(name).path, str(lists[name].parent)
    out = str(tmp_path)
    for config, kind, folder in (("inference", "infer", str(scans[name])), ("evaluate", "infer", data),
                                 ("train", "train", data)):  # fmt: skip
        extra = {"checkpoint": f"{out}/c.pt"} if config == "train" else {"output_dir": out}
        flow = workflow(root, config, kind, dataset_dir=folder, **extra)
        assert flow.check_properties() == [], config
        assert flow.version == "0.1.0"


def test_load_of_a_self_contained_bundle(exports: Exports, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MONAI's `load` does not say where the bundle is: elsewhere it tells what to do, and then it works."""
    from monai.bundle import load as load_by_monai

    root = exports("blobs", self_contained=True).path
    where = {"name": root.name, "bundle_dir": str(root.parent), "source": "github", "workflow_type": "inference"}
    with pytest.raises(RuntimeError) as caught:
        load_by_monai(**where)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert f"not found from {place}: change into the folder of the bundle, or give" in str(caught.value.__cause__)
    untouched(place)
    monkeypatch.chdir(root)
    network = load_by_monai(**where)
    assert type(network).__module__ == "scripts.networks_attention_cnn"


def train_whole_and_broken_off(root: Path, tmp_path: Path, **inputs: str) -> tuple[Path, Path]:
    """Weights after two epochs through train.json, without a break and broken off after the first."""
    from ignite.engine import Events

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(engine: Any) -> None:
        if engine.state.epoch == 1:
            raise Stopped

    def run(folder: str, *, resume: bool = False, broken_off: bool = False) -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        output, checkpoint = place / "retrained.pt", place / "checkpoint.pt"
        flow = workflow(
            root, "train", "train", resume=resume, output=str(output), checkpoint=str(checkpoint), **inputs,
            **{"train#trainer#max_epochs": 2},
        )  # fmt: skip
        if broken_off:
            flow.trainer.add_event_handler(Events.EPOCH_COMPLETED, stop)
            with pytest.raises(RuntimeError) as caught:
                flow.run()
            assert isinstance(caught.value.__cause__, Stopped)
            assert checkpoint.is_file()
            assert not output.exists()
        else:
            flow.run()
            flow.finalize()
        return output

    whole = run("whole")
    run("broken", broken_off=True)
    return whole, run("broken", resume=True)


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (torch.load(path, weights_only=True) for path in (one, other))
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, atol=0, rtol=0)


@pytest.mark.parametrize("name", SMALL)
def test_training_starts_and_resumes(exports: Exports, lists: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Two epochs through train.json; broken off after the first and resumed they end in the same weights."""
    root = exports(name).path
    assert_same_weights(*train_whole_and_broken_off(root, tmp_path, dataset_dir=str(lists[name].parent)))
    assert json.loads((root / "configs/metadata.json").read_text())["medattn"]["files"]["models/model.pt"]
    assert load(root).weights_sha256 == exports(name).weights_sha256, "the bundle's own weights stay"


def test_evaluate_reproduces_the_documented_metric(exports: Exports, lists: dict[str, Path], tmp_path: Path) -> None:
    """The held-out fold of the training, through MONAI: the figures in the metadata come out again."""
    bundle = exports("blobs")
    flow = workflow(bundle.path, "evaluate", "infer", dataset_dir=str(lists["blobs"].parent), output_dir=str(tmp_path))
    flow.run()
    found = json.loads((tmp_path / "metrics.json").read_text())
    documented = bundle.metadata["eval_metrics"]
    assert found["cases"] == 12
    for key in ("accuracy", "auc"):
        assert found[key] == pytest.approx(documented[key], abs=1e-6)
    assert flow.evaluator.state.metrics["auc"] == found["auc"]


def test_evaluate_measures_an_ensemble_as_it_predicts(exports: Exports, lists: dict[str, Path], tmp_path: Path) -> None:
    """Its documented figures are of members on cases they had not seen; here the mean of all is on all cases."""
    from medattn_core import datalists

    bundle = exports("blob_size")
    flow = workflow(bundle.path, "evaluate", "infer", dataset_dir=str(lists["blob_size"].parent),
                    output_dir=str(tmp_path))  # fmt: skip
    flow.run()
    found = json.loads((tmp_path / "metrics.json").read_text())
    predictor = Predictor.from_bundle(bundle, device="cpu")
    cases = datalists.load(lists["blob_size"])
    errors = [abs(predictor(case.image).value - case.value) for case in cases]
    assert found["cases"] == len(cases)
    assert found["mae"] == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("self_contained", [False, True])
def test_two_processes_train_as_one(
    exports: Exports, lists: dict[str, Path], tmp_path: Path, self_contained: bool
) -> None:
    root = exports("blobs", self_contained=self_contained).path
    configs = [str(root / f"configs/{name}.json") for name in ("train", "multi_gpu_train")]
    arguments = [
        "run", "--config_file", json.dumps(configs), "--meta_file", str(root / "configs/metadata.json"),
        "--bundle_root", str(root), "--dataset_dir", str(lists["blobs"].parent), "--train#trainer#max_epochs", "1",
        "--output", str(tmp_path / "two.pt"), "--checkpoint", str(tmp_path / "c.pt"), "--logging_file", "False",
    ]  # fmt: skip
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*start, "-m", "monai.bundle", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    alone = tmp_path / "one.pt"
    flow = workflow(
        exports("blobs").path, "train", "train", dataset_dir=str(lists["blobs"].parent), output=str(alone),
        checkpoint=str(tmp_path / "d.pt"), **{"train#trainer#max_epochs": 1},
    )  # fmt: skip
    flow.run()
    flow.finalize()
    for key, value in torch.load(alone, weights_only=True).items():
        torch.testing.assert_close(two[key].float(), value.float(), atol=2e-3, rtol=2e-3)


def test_federated_learning_takes_the_bundle(exports: Exports, lists: dict[str, Path], tmp_path: Path) -> None:
    """MonaiAlgo initialises from train.json with evaluate.json over it, trains a round, evaluates and ends.

    Of a single network: federated rounds exchange the weights of one, and train.json of an ensemble makes one.
    """
    from monai.fl.client import MonaiAlgo
    from monai.fl.utils.constants import ExtraItems, WeightType
    from monai.fl.utils.exchange_object import ExchangeObject

    shutil.copytree(exports("blobs").path, tmp_path / "bundle")
    data = {"dataset_dir": str(lists["blobs"].parent)}
    algorithm = MonaiAlgo(
        bundle_root=str(tmp_path / "bundle"), local_epochs=1, train_kwargs=dict(data), eval_kwargs=dict(data),
        config_filters_filename=None,
    )  # fmt: skip
    algorithm.initialize(extra={ExtraItems.CLIENT_NAME: "site", ExtraItems.APP_ROOT: ""})
    start = {key: value.clone().numpy() for key, value in algorithm.trainer.network.state_dict().items()}
    weights = ExchangeObject(weights=start, weight_type=WeightType.WEIGHTS)
    algorithm.train(data=weights, extra={})
    update = algorithm.get_weights(extra={})
    assert any(float(np.abs(np.asarray(value)).max(initial=0)) > 0 for value in update.weights.values())
    metrics = algorithm.evaluate(data=weights, extra={}).metrics
    assert 0 <= metrics["accuracy"] <= 1
    # The end writes what was trained, once: the workflow that evaluates has nothing to save.
    output = tmp_path / "bundle" / "models" / "retrained.pt"
    algorithm.eval_workflow.finalize()
    assert not output.exists()
    trained = {key: value.clone() for key, value in algorithm.trainer.result().state_dict().items()}
    algorithm.finalize()
    written = torch.load(output, weights_only=True)
    assert written.keys() == trained.keys()
    for key, value in trained.items():
        torch.testing.assert_close(written[key], value, atol=0, rtol=0)
    assert load(tmp_path / "bundle").weights_sha256 == exports("blobs").weights_sha256, "the bundle's own weights stay"

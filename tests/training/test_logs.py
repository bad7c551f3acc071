"""TensorBoard: mean losses and the validation score of each epoch, one run a curve."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.early_stop import outputs_on
from medattn_core.training.loop import fit
from tests.training.test_checkpoint import NETWORK, TASK, data


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def run(folder: Path, epochs: int) -> None:
    config = TrainingConfig(epochs=epochs, batch_size=4, precision="fp32", patience=9)
    torch.manual_seed(0)
    fit(AttentionCNN(**NETWORK), data(), TASK, config, validation=data(), log_dir=folder / "logs")


def test_every_epoch_is_written_once(tmp_path):
    run(tmp_path, 3)
    run(tmp_path, 2)  # started anew: the third epoch of the other run is gone
    found = scalars(tmp_path / "logs")
    assert {"train/loss", "train/label", "train/learning_rate", "validation/score", "validation/best"} <= set(found)
    for name, values in found.items():
        assert [step for step, _ in values] == [1, 2], name
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_the_score_of_a_regression_is_in_its_unit(tmp_path: Path) -> None:
    task = TaskSpec(name="t", kind="regression", activation="identity", labels=("size",), unit="mm3",
                    spatial_dims=2, spacing=(1, 1))  # fmt: skip
    values = replace(data(), targets=np.linspace(1000, 5000, 8, dtype=np.float32)[:, None])
    config = TrainingConfig(epochs=2, batch_size=4, precision="fp32", patience=9)
    torch.manual_seed(0)
    network = AttentionCNN(**NETWORK | {"out_channels": 1})
    kept = fit(network, values, task, config, validation=values, log_dir=tmp_path)
    error = float(np.abs(outputs_on(kept, values) - values.targets).mean())
    found = scalars(tmp_path)
    assert found["validation/best"][-1][1] == pytest.approx(-error, rel=1e-4)
    assert found["validation/best"][-1][1] == max(value for _, value in found["validation/score"])


def test_an_exception_of_a_step_is_the_one_that_is_raised(tmp_path):
    class StopError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopError

    config = TrainingConfig(epochs=1, batch_size=4, precision="fp32")
    with pytest.raises(StopError):
        fit(AttentionCNN(**NETWORK), data(), TASK, config, log_dir=tmp_path, progress=stop)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of MLflow's own database in a file."""
    mlflow = pytest.importorskip("mlflow", reason="the package mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="the database of mlflow is not installed")
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return mlflow.MlflowClient(tracking_uri=uri)


def runs_of(store: Any) -> list[Any]:
    experiment = store.get_experiment_by_name("medattn")
    return sorted(store.search_runs([experiment.experiment_id]), key=lambda one: one.info.start_time)


def test_mlflow_has_a_run_of_its_own_for_each_training(tmp_path: Path, store: Any) -> None:
    run(tmp_path, 3)
    run(tmp_path, 2)
    first, second = runs_of(store)
    for one, epochs in ((first, 3), (second, 2)):
        assert (one.info.run_name, one.info.status) == (f"{tmp_path.name}/logs", "FINISHED")
        loss = store.get_metric_history(one.info.run_id, "train/loss")
        assert [point.step for point in loss] == list(range(1, epochs + 1))
    board = [value for _, value in scalars(tmp_path / "logs")["train/loss"]]
    assert board == pytest.approx([p.value for p in store.get_metric_history(second.info.run_id, "train/loss")])


def test_mlflow_goes_on_in_the_run_of_a_killed_training_and_a_new_one_does_not(tmp_path: Path, store: Any) -> None:
    def train(epochs: int, resume: bool = False, stop_after: int = 99) -> None:
        def progress(step: int, *_: object) -> None:
            if step == stop_after:
                raise KeyboardInterrupt

        config = TrainingConfig(epochs=epochs, batch_size=4, precision="fp32")
        torch.manual_seed(0)
        fit(AttentionCNN(**NETWORK), data(), TASK, config, log_dir=tmp_path / "logs", resume=resume,
            checkpoint=tmp_path / "checkpoint.pt", progress=progress)  # fmt: skip

    steps = -(-len(data()) // 4)
    with pytest.raises(KeyboardInterrupt):
        train(3, stop_after=2 * steps + 1)
    train(3, resume=True)
    train(3, resume=True)  # nothing is left to train
    (one,) = runs_of(store)
    assert [point.step for point in store.get_metric_history(one.info.run_id, "train/loss")] == [1, 2, 3]
    with pytest.raises(KeyboardInterrupt):
        train(3, stop_after=2)
    train(1)
    assert [one.info.status for one in runs_of(store)] == ["FINISHED", "KILLED", "FINISHED"]


@pytest.mark.usefixtures("store")
def test_a_store_that_cannot_be_used_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/runs")
    with pytest.raises(TrainingError, match="MLFLOW_TRACKING_URI: MLflow cannot write there"):
        run(tmp_path, 1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(TrainingError, match="MLFLOW_TRACKING_URI: MLflow cannot write there"):
        run(tmp_path, 1)


@pytest.mark.usefixtures("store")
def test_a_store_that_is_lost_does_not_stop_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def lose(*_: object) -> None:
        (tmp_path / "runs.db").unlink(missing_ok=True)

    config = TrainingConfig(epochs=3, batch_size=4, precision="fp32")
    fit(AttentionCNN(**NETWORK), data(), TASK, config, log_dir=tmp_path / "logs", progress=lose)
    assert [step for step, _ in scalars(tmp_path / "logs")["train/loss"]] == [1, 2, 3]
    (said,) = [one for one in caplog.records if "the training goes on" in one.message]
    assert said.levelname == "ERROR"


@pytest.mark.parametrize("left", ["gone", "", "deleted"])
def test_a_run_that_is_no_more_is_replaced(tmp_path: Path, store: Any, left: str) -> None:
    run(tmp_path, 1)
    (first,) = runs_of(store)
    if left == "deleted":
        store.delete_run(first.info.run_id)
    else:
        (tmp_path / "logs" / "mlflow_run.txt").write_text(left)
    run(tmp_path, 2)
    newest = runs_of(store)[-1]
    assert newest.info.run_id != first.info.run_id
    assert [point.step for point in store.get_metric_history(newest.info.run_id, "train/loss")] == [1, 2]


def test_a_folder_that_cannot_be_written_is_known_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    steps: list[int] = []
    config = TrainingConfig(epochs=1, batch_size=4, precision="fp32")
    with pytest.raises(TrainingError, match=r"logs: the curves of the training cannot be written \(.+\)") as caught:
        fit(AttentionCNN(**NETWORK), data(), TASK, config, log_dir=tmp_path / "logs",
            progress=lambda step, *_: steps.append(step))  # fmt: skip
    assert caught.value.code == "unwritable"
    assert not steps


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions bind no administrator")
def test_a_folder_without_permission_is_known_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir(mode=0o555)
    with pytest.raises(TrainingError, match="logs: the curves of the training cannot be written"):
        run(tmp_path, 1)

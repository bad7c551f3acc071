"""The Ray engine on a real cluster of two nodes on this machine, one of which dies in mid-run."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from medattn_core.batch import Settings, predict_many
from medattn_core.batch import cluster as engine
from medattn_core.batch.cluster import require_ray
from medattn_core.errors import MedAttnError
from tests.batch.checks import left_over, maps, records, run, table

ROOT = Path(__file__).resolve().parents[2]
HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="the package ray is not installed (pip install medattn[ray])")


def test_without_ray_the_engine_says_what_to_install(
    tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import of an absent package comes to
    with pytest.raises(MedAttnError) as refused:
        require_ray()
    assert refused.value.code == "missing_dependency"
    with pytest.raises(MedAttnError, match=r"medattn\[ray\]"):
        run(scans[:1], tmp_path / "out", tiny, engine="ray")
    assert not (tmp_path / "out").exists()


def started(monkeypatch: pytest.MonkeyPatch, *, head_cpus: int) -> Iterator[Any]:
    """A head, and a node of one core."""
    import ray
    from ray.cluster_utils import Cluster

    # Workers import this checkout, whichever is installed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head_cpus, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one core each."""
    yield from started(monkeypatch, head_cpus=1)


class Losing:
    """Counts the results of a run, after some of which the node beside the head dies."""

    def __init__(self, cluster: Any, *, after: int) -> None:
        self.cluster, self.after, self.count = cluster, after, 0
        (self.node,) = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]

    def __call__(self, result: object) -> None:
        self.count += 1
        if self.count == self.after:
            self.cluster.remove_node(self.node, allow_graceful=False)


class Slow(engine.Worker):
    """Takes known seconds for a scan: of quick ones it ends the rest before it knows of its lost node."""

    loading, predicting = 0.0, 2.0

    def ready(self) -> None:
        time.sleep(self.loading)
        super().ready()

    def predict(self, job: Any) -> Any:
        time.sleep(self.predicting)
        return super().predict(job)


def use(worker: type[engine.Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a class of these tests, which the nodes cannot import."""
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(engine, "Worker", worker)


def many(scans: list[Path], folder: Path, copies: int) -> list[Path]:
    folder.mkdir()
    inputs = []
    for copy in range(copies):
        for path in scans:
            inputs.append(folder / f"{copy}_{path.name}")
            inputs[-1].write_bytes(path.read_bytes())
    return inputs


def test_one_card_is_not_for_a_cluster(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MedAttnError, match=r"'cuda:1' is one card, and Ray .* accepted: auto, cpu, cuda") as caught:
        predict_many([(scans[0], ())], tmp_path / "out", Settings(bundle=str(tiny), device="cuda:1"), engine="ray")
    assert caught.value.code == "bad_argument"


@needs_ray
@pytest.mark.slow
def test_two_nodes_one_dies_same_table(cluster: Any, tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    inputs = [*many(scans, tmp_path / "in", 6), tmp_path / "in" / "gone.nii.gz"]
    run(inputs, tmp_path / "here", tiny, workers=max(2, os.cpu_count() or 1))
    run(inputs, tmp_path / "two", tiny, engine="ray")
    assert table(tmp_path / "two") == table(tmp_path / "here")
    assert records(tmp_path / "two") == records(tmp_path / "here")
    assert maps(tmp_path / "two") == maps(tmp_path / "here")

    done = Losing(cluster, after=20)
    summary = run(inputs, tmp_path / "one_died", tiny, engine="ray", done=done)
    assert (summary.count, summary.failed, done.count) == (73, 1, 73)
    assert table(tmp_path / "one_died") == table(tmp_path / "here")
    assert records(tmp_path / "one_died") == records(tmp_path / "here")
    assert maps(tmp_path / "one_died") == maps(tmp_path / "here")
    assert left_over(tmp_path / "two") == []


@needs_ray
@pytest.mark.slow
def test_what_one_engine_began_the_other_ends(
    cluster: Any, tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans[0].parent)  # where the actors are not: relative paths mean the same for them
    scans = [Path(path.name) for path in scans]
    count = 0

    def done(result: object) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(scans, tmp_path / "a", tiny, engine="ray", done=done)
    assert run(scans, tmp_path / "a", tiny, workers=2).taken_over == 5
    run(scans, tmp_path / "b", tiny, workers=2)
    assert table(tmp_path / "a") == table(tmp_path / "b")


@needs_ray
@pytest.mark.slow
def test_what_keeps_every_worker_from_loading_keeps_its_code(
    cluster: Any, tiny: Path, scans: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(MedAttnError, match="MB or more") as refused:
        run(scans[:2], tmp_path, tiny, engine="ray", memory=1 << 20)
    assert refused.value.code == "bad_argument"


@needs_ray
@pytest.mark.slow
def test_an_input_that_ends_its_worker_is_a_row(
    cluster: Any, tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fragile(engine.Worker):
        """Its process ends at one input, as a crash in a decoder does."""

        def predict(self, job: Any) -> Any:
            if job.name == "scan03":
                os._exit(1)
            return super().predict(job)

    use(Fragile, monkeypatch)
    summary = run(scans[:8], tmp_path, tiny, engine="ray")
    assert (summary.count, summary.failed) == (8, 1)
    failed = [record for record in records(tmp_path) if record["error"]]
    assert [record["error"]["code"] for record in failed] == ["worker_lost"]
    assert "scan03" in failed[0]["error"]["message"]


@pytest.fixture
def one_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that can take no worker, and one node of one core."""
    yield from started(monkeypatch, head_cpus=0)


@needs_ray
@pytest.mark.slow
def test_a_run_that_lost_every_node_ends_and_the_same_command_goes_on(
    one_node: Any, tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Slow, monkeypatch)
    monkeypatch.setattr(engine, "WITHOUT_NODES", 3.0)
    done = Losing(one_node, after=4)
    with pytest.raises(MedAttnError, match="for 3 s the cluster has had no node") as ended:
        run(scans, tmp_path / "lost", tiny, engine="ray", done=done)
    assert ended.value.code == "worker_lost"
    assert 4 <= done.count < len(scans)
    assert len(records(tmp_path / "lost")) == done.count
    one_node.add_node(num_cpus=1)
    one_node.wait_for_nodes()
    summary = run(scans, tmp_path / "lost", tiny, engine="ray")
    assert (summary.count, summary.taken_over, summary.failed) == (len(scans), done.count, 0)
    run(scans, tmp_path / "here", tiny, workers=2)
    assert table(tmp_path / "lost") == table(tmp_path / "here")


@needs_ray
@pytest.mark.slow
def test_a_node_that_comes_in_time_ends_the_run(
    one_node: Any, tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Slow, monkeypatch)
    done = Losing(one_node, after=4)
    has_node = engine._Team._has_node
    missed = 0

    def late(team: Any) -> bool:
        nonlocal missed
        if has_node(team):
            return True
        missed += 1
        one_node.add_node(num_cpus=1)  # here, as Ray starts nodes from the main thread alone
        return False

    monkeypatch.setattr(engine._Team, "_has_node", late)
    summary = run(scans, tmp_path, tiny, engine="ray", done=done)
    assert (summary.count, summary.failed, done.count, missed) == (len(scans), 0, len(scans), 1)


@needs_ray
@pytest.mark.slow
def test_a_model_that_loads_slowly_is_no_loss(
    one_node: Any, tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slower(Slow):
        loading = 4.0

    use(Slower, monkeypatch)
    monkeypatch.setattr(engine, "WITHOUT_NODES", 1.0)
    summary = run(scans[:2], tmp_path, tiny, engine="ray")
    assert (summary.count, summary.failed) == (2, 0)


def test_a_cluster_that_does_not_answer_is_a_loss(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WITHOUT_NODES", 0.3)

    class UnansweredError(Exception):
        """As ray.exceptions.RayError."""

    def refuse(*_: object) -> Any:
        raise UnansweredError

    def wait(references: list[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        time.sleep(timeout)
        return [], references

    ray = mock.MagicMock(nodes=refuse, kill=refuse, wait=wait)
    ray.cluster_resources.return_value = {"CPU": 1.0}
    ray.exceptions.RayError = UnansweredError
    team = engine._Team(ray, tmp_path, Settings(bundle=str(tiny)), 1)
    with pytest.raises(MedAttnError) as ended:
        list(team.run(deque([mock.Mock()]), lambda job: None))
    assert ended.value.code == "worker_lost"
    team.end()  # and the end does not hide it

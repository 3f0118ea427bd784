"""Nodes that go away, with and without a notice, on a cluster of three nodes on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from cosdpo.experiment.compare import compare
from cosdpo.training.storage import SNAPSHOT
from tests.interruptions import at_step
from tests.tiny_models import rows, write_model, write_rows
from tests.tiny_models import settings as language
from tests.training.faulty import STEPS, assert_same, checkpoints, first_steps, settings, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Three nodes of one core; this process is connected to the first."""
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.2")
    ray.shutdown()  # that of two cores
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def test_a_run_goes_on_when_a_node_is_gone(cluster, tmp_path):
    config = settings(tmp_path / "run", scaling__workers=3, scaling__min_workers=1)
    with at_step(
        config, 22, lambda: cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    ) as gone:
        trained = train(config, seconds=0.2)
    assert gone
    assert trained.workers == 2
    assert first_steps(config)[-1] in range(6, STEPS, 5)
    assert_same(config)


def test_a_notice_is_answered_by_a_checkpoint_from_which_the_run_goes_on(cluster, tmp_path):
    config = settings(tmp_path / "run", scaling__workers=3, scaling__min_workers=1, training__checkpoint_every=1000)
    leaving, saved = next(iter(cluster.worker_nodes)), []

    def notify() -> None:
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline = int((time.time() + 600) * 1000)
        accepted, _ = GcsClient(address=cluster.address).drain_node(leaving.node_id, reason, "spot", deadline)
        assert accepted

        def leave() -> None:
            snapshot = config.output / "training" / SNAPSHOT
            while not snapshot.exists():  # Ray Train has registered it
                time.sleep(0.05)
            saved.extend(checkpoints(config.output))
            cluster.remove_node(leaving, allow_graceful=False)

        threading.Thread(target=leave, daemon=True).start()

    with at_step(config, 7, notify) as noticed:
        train(config, seconds=0.3)
    step = int(saved[0].removeprefix("checkpoint_"))
    assert noticed[0] < step < STEPS
    assert first_steps(config) == [1, step + 1]
    assert_same(config)


def test_a_comparison_survives_a_node(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "cache"))
    config = language(
        write_model(tmp_path / "model", "gpt2-tied"),
        output=tmp_path / "compare",
        data__train=str(write_rows(tmp_path / "train.jsonl", rows(16, 0))),
        data__validation=str(write_rows(tmp_path / "validation.jsonl", rows(8, 1))),
        training__steps=200,
        training__checkpoint_every=5,
        grid__partitions=1,
        comparison={"methods": ["cos", "linear_scalarization"], "seeds": [0]},
    )
    gone: list[str] = []

    def watch() -> None:
        while not list(config.output.glob("seed-0/runs/*/training/checkpoint_*")):
            time.sleep(0.05)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        gone.append("a node")

    threading.Thread(target=watch, daemon=True).start()
    compared = compare(config)
    assert gone
    assert {result.front.method for result in compared.results} == {"cos", "linear_scalarization"}
    assert json.loads((config.output / "comparison.json").read_text())["methods"].keys() >= {"cos"}

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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cosdpo.config import Config
from cosdpo.experiment.compare import compare
from cosdpo.training.ray_train import fit
from tests.interruptions import at_step
from tests.tiny_models import rows, write_model, write_rows
from tests.tiny_models import settings as language
from tests.training.faulty import assert_same, job, settings
from tests.training.test_faults import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Three nodes of one core; this process is connected to the first."""
    for key in ("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"):
        monkeypatch.setenv(key, "0.2")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def first_steps(config: Config) -> list[int]:
    """First step after each start of the workers; each start opens an event file."""
    first = []
    for file in sorted((config.output / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime):
        board = EventAccumulator(str(file))
        board.Reload()
        first.append(board.Scalars("loss")[0].step)
    return first


def test_a_run_goes_on_when_a_node_is_gone(cluster, tmp_path):
    config = settings(tmp_path / "run", scaling__workers=3, scaling__min_workers=1)
    with at_step(
        config, 22, lambda: cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    ) as gone:
        part = fit(config, job(config, seconds=0.2)).parts[0]
    assert gone
    assert part["workers"] == 2
    assert first_steps(config)[-1] in (16, 21)  # the newest checkpoint, or one that was not copied yet
    assert_same(part, config)


def test_a_notice_is_answered_by_a_checkpoint_from_which_the_run_goes_on(cluster, tmp_path):
    config = settings(tmp_path / "run", scaling__workers=3, scaling__min_workers=1, training__checkpoint_every=1000)
    leaving = next(iter(cluster.worker_nodes))

    def notify() -> None:
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline = int((time.time() + 600) * 1000)
        accepted, _ = GcsClient(address=cluster.address).drain_node(leaving.node_id, reason, "spot", deadline)
        assert accepted

        def leave() -> None:
            while not checkpoints(config.output):
                time.sleep(0.05)
            time.sleep(1)  # until Ray Train has registered it
            cluster.remove_node(leaving, allow_graceful=False)

        threading.Thread(target=leave, daemon=True).start()

    with at_step(config, 7, notify) as noticed:
        part = fit(config, job(config, seconds=0.3)).parts[0]
    saved = int(checkpoints(config.output)[0].removeprefix("checkpoint_"))
    assert noticed[0] < saved < 40
    assert first_steps(config) == [1, saved + 1]
    assert_same(part, config)


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
        while not list(config.output.glob("seed-0/runs/*/state/[0-9]*")):
            time.sleep(0.05)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        gone.append("a node")

    threading.Thread(target=watch, daemon=True).start()
    results = compare(config)
    assert gone
    assert {result.front.method for result in results} == {"cos", "linear_scalarization"}
    assert json.loads((config.output / "comparison.json").read_text())["methods"].keys() >= {"cos"}

"""A small run through its real job, killed at random moments and gone on with, held against an uninterrupted one.

    pytest tests/faults/test_kills.py -s --kills 50

Three kinds of kill take turns, all SIGKILL: a training worker (the run restarts by itself), the job's own process (the
same command with --resume), and a worker while a checkpoint is being written. Runs that are finished are checked, and
the next one starts. Prints {"kills", "by_kind", "runs", "partial_loads": runs of which some logged loss differs from
the uninterrupted run's, "lost_runs": runs that could not be gone on with or ended with other trained tensors,
"steps_redone_per_kill"}.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
from safetensors.torch import load_file

from cosdpo.training.storage import SNAPSHOT
from cosdpo.training.tracking import read_metrics
from tests.interruptions import workers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
ROOT = Path(__file__).parents[2]
STEPS, EVERY = 400, 20
KEYS = {
    "data.synthetic_queries": 40,
    "ranker.width": 8,
    "ranker.layers": 1,
    "ranker.base_steps": 5,
    "objectives": "quality,url_click",
    "training.steps": STEPS,
    "training.batch_size": 16,
    "training.micro_batch": 1,  # slow steps: kills come while it trains
    "training.checkpoint_every": EVERY,
    "training.log_every": 1,
    "grid.partitions": 1,
    "scaling.workers": 2,
    "scaling.max_failures": 1000,
}


class Job:
    """The job of one run, in a process of its own."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, or goes on with what there is."""
        resume = ["--resume"] if (self.output / "config.yaml").exists() else []
        words = [word for key, value in KEYS.items() for word in (f"--{key}", str(value))]
        with (self.output.parent / f"{self.output.name}.log").open("ab") as log:
            command = [sys.executable, "jobs/train_ltr.py", "--output", str(self.output), *words, *resume]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def ended(self) -> int | None:
        """Its exit code, None while it runs."""
        assert self.process is not None
        return self.process.poll()

    def wait(self) -> int:
        """Its exit code, when it has one."""
        assert self.process is not None
        return self.process.wait()

    def log(self) -> str:
        """The end of what it printed."""
        return (self.output.parent / f"{self.output.name}.log").read_text()[-2000:]

    def step(self) -> int:
        """The last one that was logged."""
        lines = read_metrics(self.output)
        return int(lines[-1]["step"]) if lines else 0

    def writing(self) -> bool:
        """Whether there is a checkpoint that Ray Train has not registered yet."""
        folder = self.output / "training"
        snapshot = folder / SNAPSHOT
        registered = snapshot.read_text() if snapshot.exists() else ""
        return any(path.name not in registered for path in folder.glob("checkpoint_0*"))


def kill(job: Job, kind: str, target: int) -> int | None:
    """Waits for step `target` and kills; the last logged step then, None where the run ended before."""
    while job.ended() is None:
        if job.step() >= target and (kind != "saving" or job.writing()):
            step = job.step()
            if kind == "driver":
                assert job.process is not None
                job.process.kill()
                job.process.wait()
                # The cluster ends what the job left, before another one writes to the same folder.
                while workers():
                    time.sleep(0.1)
                return step
            if pids := workers():
                os.kill(random.choice(pids), signal.SIGKILL)
                return step
        time.sleep(0.001 if kind == "saving" else 0.01)
    return None


def tensors(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.output / "checkpoint" / "model.safetensors")


def differs(job: Job, right: Job) -> tuple[bool, bool]:
    """Whether some logged loss and whether some trained tensor is another one than that of `right`."""
    pairs = itertools.zip_longest(read_metrics(job.output), read_metrics(right.output), fillvalue={})
    losses = any(a.get("step") != b.get("step") or abs(a["loss"] - b["loss"]) > 1e-5 for a, b in pairs)
    expected = tensors(right)
    ends = any(not torch.allclose(t, expected[name], rtol=1e-5, atol=1e-5) for name, t in tensors(job).items())
    return losses, ends


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray of two cores that the jobs join."""
    session = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    monkeypatch.setenv("RAY_ADDRESS", session.address_info["address"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_runs_that_are_killed_end_as_if_they_were_not(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    kills: int = pytestconfig.getoption("--kills")
    random.seed(0)
    began = time.monotonic()
    right = Job(tmp_path / "uninterrupted")
    right.start()
    assert right.wait() == 0, right.log()
    print(f"uninterrupted: {time.monotonic() - began:.0f} s", flush=True)
    counts = dict.fromkeys(("worker", "driver", "saving"), 0)
    kinds = itertools.cycle(counts)
    runs = partial = lost = redone = 0
    while sum(counts.values()) < kills:
        job, runs = Job(tmp_path / f"run{runs}"), runs + 1
        job.start()
        while (code := job.ended()) is None or code == -signal.SIGKILL:
            if code is not None:
                job.start()
            if sum(counts.values()) >= kills:
                job.wait()
                continue
            kind = next(kinds)
            at = kill(job, kind, min(job.step() + random.randint(1, 2 * EVERY), STEPS))
            if at is None:
                continue
            counts[kind] += 1
            redone += at % EVERY
            print(f"{job.output.name}: killed ({kind}) at step {at}, {time.monotonic() - began:.0f} s", flush=True)
            while kind != "driver" and job.ended() is None and job.step() == at:
                time.sleep(0.05)
        if code:
            lost += 1
            print(job.log(), file=sys.stderr)
            continue
        other_losses, other_tensors = differs(job, right)
        partial, lost = partial + other_losses, lost + other_tensors
    figures = {
        "kills": sum(counts.values()),
        "by_kind": counts,
        "runs": runs,
        "partial_loads": partial,
        "lost_runs": lost,
        "steps_redone_per_kill": round(redone / kills, 1),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(figures))
    assert (partial, lost) == (0, 0)

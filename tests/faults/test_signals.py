"""Jobs that a signal ends in every phase, and what the same command with --resume makes of them.

    pytest tests/faults/test_signals.py -s                     one signal a phase, in turns
    pytest tests/faults/test_signals.py -s --all-signals       every signal in every phase

Prints a line per case: job, phase, signal, exit status, last line, seconds until the end, and whether the resumed job
ended with the uninterrupted one's fronts. A phase that had passed when the signal came is told as such: the job then
ended as if nothing had happened.
"""

from __future__ import annotations

import glob
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosdpo.activity import FOLDER as ACTIVITY
from cosdpo.claim import CLAIM
from tests.tiny_models import write_model
from tests.tiny_rankers import query_lists, write_letor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
ROOT = Path(__file__).parents[2]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
LINE = "interrupted; go on with the same command and --resume"
SHORT = "--training.steps 60 --training.checkpoint_every 10 --training.log_every 1 --grid.partitions 4"
RANKER = f"--task ranking --objectives a b --data.auxiliary '{{a: 11, b: 12}}' --ranker.base_steps 60 {SHORT}"
JOBS = {
    "train_ltr": RANKER,
    "train_gpt2": f"--objectives a b --training.batch_size 4 {SHORT}",
    "compare": f"{RANKER} --comparison.seeds 0 1 --comparison.methods cos soup",
    "sweep": f"{RANKER} --sweep.space '{{training.alpha: \"uniform(0.3, 2)\"}}' --sweep.search random "
    "--sweep.samples 3 --sweep.max_concurrent 1",
}


def there(output: Path, pattern: str) -> bool:
    """Whether there is such a file anywhere in a folder, which may be changing."""
    # Of pathlib, a folder that is taken away meanwhile raises.
    return any(glob.iglob(pattern, root_dir=output, recursive=True, include_hidden=True))  # noqa: PTH207


PHASES: dict[str, Callable[[Path], bool]] = {
    "reading": lambda output: (output / CLAIM).exists(),
    "reference": lambda output: there(output, f"**/{ACTIVITY}/reference*/*.json"),
    "base": lambda output: there(output, "**/base/metrics.jsonl"),
    "training": lambda output: any(path.parent.name != "base" for path in output.rglob("metrics.jsonl")),
    "measuring": lambda output: there(output, f"**/{ACTIVITY}/measur*/*.json"),
    "report": lambda output: any(
        (output / name).exists() for name in ("front.json", "comparison.json", "trials.parquet")
    ),
}
"""Whether a phase has begun."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Options by kind of job: where its data is."""
    folder = tmp_path_factory.mktemp("data")
    write_letor(folder / "lists" / "train.txt", query_lists(*[8] * 60))
    write_letor(folder / "lists" / "test.txt", query_lists(*[8] * 20, seed=1))
    base = write_model(folder / "base", "gpt2-tied")
    rows = [
        {"prompt": f"say {i % 7}.", "responses": ["yes", "oh no"], "scores": {"a": [i % 3, 1], "b": [1, i % 2]}}
        for i in range(80)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    language = f"--model.base {base} --data.train {folder / 'pairs.jsonl'}"
    return dict.fromkeys(JOBS, f"--data.train {folder / 'lists'}") | {"train_gpt2": language}


def command(job: str, data: dict[str, str], output: Path, *more: str) -> list[str]:
    return [sys.executable, f"jobs/{job}.py", "--output", str(output), *shlex.split(f"{data[job]} {JOBS[job]}"), *more]


def fronts(output: Path) -> list[Any]:
    """The points of all fronts, but for what a clock says."""
    # Ray Tune keeps pickles under names that end in .json.
    places = [place for place in output.rglob("*.json") if "_state" not in place.name]
    read = [json.loads(place.read_text()) for place in places]
    # By content: Ray Tune names trials at random.
    return sorted((front["points"] for front in read if "points" in front), key=json.dumps)


def finished(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("job", JOBS)
def test_an_interrupted_job_goes_on(
    tmp_path: Path, data: dict[str, str], job: str, pytestconfig: pytest.Config
) -> None:
    environment = os.environ | {"COSDPO_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    right = tmp_path / "right"
    whole = finished(command(job, data, right), environment)
    assert whole.returncode == 0, whole.stderr[-2000:]
    expected = fronts(right)
    assert expected
    phases = [phase for phase in PHASES if job != "train_gpt2" or phase != "base"]
    turns = list(STATUS)[list(JOBS).index(job) % 3 :] + list(STATUS)
    wrong = []
    for number, phase in enumerate(phases):
        for kind in STATUS if pytestconfig.getoption("--all-signals") else [turns[number % 3]]:
            # A cache of its own: the reference pass is a phase only where its scores are not known yet.
            own = environment | {"COSDPO_CACHE": str(tmp_path / f"cache-{phase}-{kind}")}
            output = tmp_path / f"{phase}-{kind}"
            status, last, seconds = strike(command(job, data, output), own, output, phase, kind)
            resume = ["--resume"] if (output / "config.yaml").exists() else []
            again = finished(command(job, data, output, *resume), own)
            same = again.returncode == 0 and fronts(output) == expected
            told = "after its end" if status == 0 else f"exit {status}"
            print(f"{job:10} {phase:9} {kind.name:7} {told:13} {seconds:4.1f} s  same front {same}  {last}", flush=True)
            told_right = status == 0 or (status == STATUS[kind] and (kind == signal.SIGKILL or last == LINE))
            if not (same and told_right):
                wrong.append((phase, kind.name, status, last, again.stderr[-1500:]))
    assert not wrong


def strike(
    words: list[str], environment: dict[str, str], output: Path, phase: str, kind: signal.Signals
) -> tuple[int, str, float]:
    """Exit status and last line of a job that gets the signal as soon as the phase has begun, and how long it took."""
    with (output.parent / f"{output.name}.log").open("w+") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        while process.poll() is None and not PHASES[phase](output):
            time.sleep(0.002)
        process.send_signal(kind)
        began = time.monotonic()
        status = process.wait()
        log.seek(0)
        lines = log.read().splitlines()
    return status, lines[-1] if lines else "", time.monotonic() - began

"""benchmarks/gpu.py on tiny shapes and the CPU, so that it runs on the day when there is a GPU."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RATIOS = {"pairs_vs_plain", "labels_vs_plain", "memory_vs_plain", "mfu", "plan_vs_measured", "matmul_tflops"}
SPEEDS = {
    *("tokens_per_second_1", "tokens_per_second_2", "tokens_per_second_4", "share_of_bandwidth_1", "first_token_ms"),
    *("mixed_vs_same_weights", "vs_bare_forward", "copy_terabytes_per_second"),
}


@pytest.mark.slow
def test_all_of_it_runs_on_tiny_shapes():
    """A minute on an idle core; each part is given more time than it needs, since tests share the machine."""
    parts = "correctness,training-1b,serving-7b,profile"
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--tiny", "--threads", "1", "--minutes", "30"]
    done = subprocess.run([*command, "--only", parts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout
    assert "DIFFERENT" not in done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["correctness"]["correct"] is True
    assert found["training-1b"].keys() >= RATIOS
    assert found["serving-7b"].keys() >= SPEEDS
    assert len([key for key in found["profile"] if key.endswith(" ms")]) == 2


def test_the_worst_of_all_parts_is_held_against_each_goal():
    gpu = runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"))
    found = {
        "training-1b": {"mfu": 0.5, "memory_vs_plain": 0.5, "plan_vs_measured": 1.1},
        "training-7b": {"mfu": 0.4, "memory_vs_plain": 0.7, "plan_vs_measured": 0.86},
        "serving-1b": {"vs_bare_forward": 0.85},
    }
    assert gpu["judged"](found) == {
        "mfu": [0.45, 0.4, False],
        "memory_vs_plain": [0.6, 0.7, False],
        "plan_vs_measured": [0.15, 0.14, True],
        "vs_bare_forward": [0.85, 0.85, True],
    }


def test_a_part_that_is_unknown_is_refused_in_a_line():
    command = [sys.executable, "benchmarks/gpu.py", "--only", "training"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("error: --only names training; the parts are correctness, training-1b")
    assert done.returncode == 1

"""The jobs as a person runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHORT = ["--training.steps", "4", "--training.batch_size", "4", "--grid.partitions", "1", "--evaluation.prompts", "1"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # the synthetic base model is trained first where no run before has done so
def test_the_quickstart_stops_twice_and_goes_on(tmp_path):
    """Started again it refuses its own folder; with --resume it goes on, though the job names no base and no data."""

    def quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "jobs/quickstart.py", "--output", str(tmp_path / "run"), *SHORT, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)

    first = quickstart()
    assert first.returncode == 0, first.stderr[-2000:]
    again = quickstart()
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith("error: output")
    resumed = quickstart("--resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert resumed.stdout.splitlines()[-1].startswith("trained in")

"""The jobs as a person runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cosdpo.reports.finish import finish_sweep
from tests.fake_sweep import sweep_result

ROOT = Path(__file__).parents[1]
SHORT = ["--training.steps", "4", "--training.batch_size", "4", "--grid.partitions", "1", "--evaluation.prompts", "1"]


def test_a_sweep_leaves_a_page_of_every_trial_with_a_front(tmp_path, capsys):
    found = sweep_result(tmp_path, [0.3, 0.9, 0.5], stopped=[0], failed=[2])
    whole, half, failed = (tmp_path / "trials" / name for name in ("trial-01", "trial-00", "trial-02"))
    for folder in (whole, half, failed):
        folder.mkdir(parents=True)
    (half / "report.html").write_text("of an earlier version")
    finish_sweep(found)
    page = (whole / "report.html").read_text()
    assert f"python jobs/train_gpt2.py --config {whole / 'config.yaml'} --output runs/again" in page
    assert (half / "report.html").read_text() == "of an earlier version"
    assert not (failed / "report.html").exists()
    assert (tmp_path / "report.html").exists()
    assert capsys.readouterr().out.splitlines()[0] == "3 trials: 1 finished, 1 stopped, 1 failed"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the synthetic base model is trained first where no run before has done so
def test_the_quickstart_stops_twice_and_goes_on(tmp_path):
    """Started again it refuses its own folder; with --resume it goes on, though the job names no base and no data."""

    def quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "jobs/quickstart.py", "--output", str(tmp_path / "run"), *SHORT, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    first = quickstart()
    assert first.returncode == 0, first.stderr[-2000:]
    again = quickstart()
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith("error: output")
    resumed = quickstart("--resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert resumed.stdout.splitlines()[-1].startswith("trained in")

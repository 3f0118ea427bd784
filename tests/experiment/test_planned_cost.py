"""The plan that --plan prints."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cosdpo.config import Config
from cosdpo.experiment.compare import compare
from cosdpo.experiment.run import run
from tests.tiny_models import rows, settings, write_model, write_rows

PRICES: dict[str, object] = {"tflops": 1e-6, "price": 3.0}


@pytest.fixture
def planned(tmp_path) -> Callable[..., Config]:
    write_model(tmp_path / "base", "gpt2-tied")
    files = {
        "data__train": str(write_rows(tmp_path / "train.jsonl", rows(12, 0))),
        "data__validation": str(write_rows(tmp_path / "validation.jsonl", rows(4, 1))),
    }
    return lambda **changes: settings(tmp_path / "base", output=tmp_path / "run", plan=True, **files, **changes)


def test_the_trainings_of_every_method(planned, capsys):
    comparison = {"seeds": [0, 1]}
    config = planned(training__steps=100, grid__partitions=2, comparison=comparison, baseline={"steps": 40})
    assert compare(config) is None
    assert not config.output.exists()
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    figures = {words[0]: words[1:4] for words in lines if words and words[0] in config.comparison.methods}
    # 3 weights and 2 seeds. All: the conditioned run, 3 single runs, and modpo's between them.
    assert figures == {
        "cos": ["steps", "2", "200"],
        "linear_scalarization": ["steps", "6", "240"],
        "soup": ["steps", "4", "160"],
        "modpo": ["steps", "6", "240"],
    }
    (together,) = [words for words in lines if words[:1] == ["together,"]]
    assert together[4:6] == ["10", "520"]
    assert "2 seed(s), 1 fold(s), 3 weights" in out


def test_epochs_are_planned_as_steps(planned, capsys):
    """12 contexts in batches of 4 are 3 steps."""
    list(run(planned(training={"epochs": 5, "batch_size": 4})))
    (words,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("cos ")]
    assert words[1:4] == ["steps", "1", "15"]


@pytest.mark.parametrize(("method", "trainings"), [("cos", 1), ("soup", 2)])
def test_gpu_hours_and_price_of_a_run(planned, capsys, method, trainings):
    config = planned(training__steps=40, method=method, gpu=PRICES)
    assert list(run(config)) == []
    assert not config.output.exists()
    out = capsys.readouterr().out
    (words,) = [line.split() for line in out.splitlines() if line.startswith(method)]
    flops = float(out.split(" weights; ")[1].split(" FLOP")[0])
    # steps * FLOP per step at 1e6 FLOP/s, in hours.
    hours = trainings * 40 * flops / 1e6 / 3600
    assert words[1:4] == ["steps", str(trainings), str(40 * trainings)]
    assert float(words[4]) == pytest.approx(hours, rel=0.01)
    assert float(words[5].replace(",", "")) == pytest.approx(3 * hours, rel=0.01, abs=0.006)

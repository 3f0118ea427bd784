"""The conditioned run."""

from __future__ import annotations

import pytest

from cosdpo.methods.cos import Cos
from cosdpo.methods.method import Policy
from cosdpo.simplex import das_dennis
from tests.tiny_models import settings


@pytest.mark.parametrize(("m", "partitions"), [(2, 10), (3, 4)])
def test_one_run_as_configured_for_the_whole_grid(m, partitions):
    config = settings("", objectives=["kind", "short", "true"][:m], baseline={"steps": 3, "lora_rank": 9})
    method, grid = Cos(config), das_dennis(m, partitions)
    (run,) = method.runs(grid)
    assert (run.name, run.margins) == ("cos", {})
    assert run.config == config  # the settings of the baselines are none of its own
    assert {tuple(method.at(weights).shares.items()) for weights in grid} == {(("cos", 1.0),)}
    assert method.at(grid[0]) == Policy({"cos": 1.0})

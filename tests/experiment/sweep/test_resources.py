"""What a trial takes of the cluster."""

from __future__ import annotations

import pytest

from cosdpo.experiment.sweep.sweep import located
from tests import tiny_rankers


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, (1, 0, False)),
        ({"scaling__cpus_per_worker": 4, "scaling__use_gpu": True}, (4, 1, True)),
        ({"sweep__cpus_per_trial": 0.5, "sweep__gpus_per_trial": 0.25}, (0.5, 0.25, True)),
        ({"scaling__use_gpu": True, "sweep__gpus_per_trial": 0.25}, (1, 0.25, True)),
    ],
)
def test_a_trial_takes_what_a_worker_takes_unless_told_otherwise(changes, taken):
    config = located(tiny_rankers.settings(**changes))
    assert (config.sweep.cpus_per_trial, config.sweep.gpus_per_trial, config.scaling.use_gpu) == taken
    assert config.scaling.cpus_per_worker == config.sweep.cpus_per_trial
    assert located(config) == config

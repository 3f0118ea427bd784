"""Values that do not go together are refused wherever a configuration is made, in one line that names the mend."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cosdpo.config import Config, ScalingConfig
from cosdpo.errors import InputError

FSDP = {"scaling.strategy": "fsdp", "scaling.workers": 2}
ZERO = {"scaling.strategy": "deepspeed", "scaling.workers": 2}
ZERO_3 = {**ZERO, "scaling.zero_stage": 3}
NF4 = {"model.quantization": "nf4"}
TCHEBYCHEFF = {"training.scalarisation": "tchebycheff", "training.contexts_per_weight": 4}
GROUPS = {"training.compare_across": 4}
RANKING = {"task": "ranking"}
HEADS = {"ranker.width": 10, "ranker.heads": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["a", "b", "a"]}, "objectives ['a', 'b', 'a'] names one twice; name each once"),
        (
            {"objectives": ["a", "b"], "temperature": [0.1, 0.2, 0.3]},
            "temperature has 3 numbers for 2 objectives; give one for all, or one each",
        ),
        ({**GROUPS, "data.comparisons": "listwise"}, "training.compare_across 4 compares pairs of responses"),
        ({**GROUPS, **RANKING}, "training.compare_across 4 compares pairs of responses"),
        ({**GROUPS, "training.batch_size": 6}, "training.batch_size 6 is not a multiple of training.compare_across 4"),
        (
            {**GROUPS, "training.micro_batch": 6},
            "training.micro_batch 6 is not a multiple of training.compare_across 4",
        ),
        (
            {**GROUPS, "scaling.workers": 3},
            "scaling.workers 3 cannot share training.batch_size 8, which has 2 groups of training.compare_across 4",
        ),
        ({"scaling.workers": 9}, "scaling.workers 9 cannot share training.batch_size 8, which has 8 contexts"),
        ({"scaling.workers": 2, "scaling.min_workers": 3}, "scaling.min_workers 3 is more than scaling.workers 2"),
        ({"training.target": "rewards", "training.penalty": 0.5}, "training.penalty is for training.target labels"),
        (
            {"training.target": "scores", "training.scalarisation": "tchebycheff"},
            "training.scalarisation is for training.target labels",
        ),
        ({**TCHEBYCHEFF, "training.penalty": 1.0}, "training.penalty is for training.scalarisation linear"),
        ({"training.scalarisation": "tchebycheff"}, "training.scalarisation tchebycheff compares mean losses"),
        ({**TCHEBYCHEFF, "training.batch_size": 6}, "training.batch_size 6 is not a multiple of training.contexts_per"),
        (
            {**GROUPS, "training.contexts_per_weight": 2},
            "training.contexts_per_weight 2 is not",
        ),
        ({**FSDP, **RANKING}, "scaling.strategy fsdp is for language models: set it to ddp for rankers"),
        ({**FSDP, "scaling.workers": 1}, "scaling.strategy fsdp has nothing to shard over"),
        ({**FSDP, "scaling.min_workers": 1}, "scaling.min_workers 1 leaves nothing to shard over"),
        ({**FSDP, "scaling.offload": "optimizer"}, "scaling.offload optimizer needs scaling.strategy deepspeed"),
        ({**ZERO, "scaling.offload": "parameters"}, "scaling.offload parameters moves the parts of a sharded base"),
        ({**ZERO_3, "scaling.workers": 1, "scaling.offload": "parameters"}, "scaling.offload parameters moves"),
        ({**NF4, **RANKING}, "model.quantization is for language models"),
        ({**NF4, **FSDP}, "model.quantization nf4 does not go with scaling.strategy fsdp"),
        ({**HEADS, **RANKING}, "ranker.width 10 is not a multiple of ranker.heads 4; change one of them"),
    ],
)
def test_impossible_combinations(changes, message):
    with pytest.raises(InputError) as error:
        Config().changed(changes)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": [0.1, 0.2, 0.3]},  # a ranker's objectives may be named later
        {"objectives": ["a", "b", "c"], "temperature": [0.1, 0.2, 0.3]},
        {**GROUPS, "training.micro_batch": 4, "scaling.workers": 2},
        {"scaling.workers": 8, "scaling.min_workers": 1},
        {"training.target": "rewards"},
        TCHEBYCHEFF,
        {**TCHEBYCHEFF, **RANKING},
        {**GROUPS, "training.contexts_per_weight": 4},
        {**RANKING, "scaling.workers": 2},
        {**FSDP, "scaling.workers": 4, "scaling.min_workers": 2},
        {**ZERO, "scaling.workers": 1, "scaling.offload": "optimizer"},
        {**ZERO_3, "scaling.offload": "parameters"},
        NF4,
        HEADS,  # which a language model does not have
        {**HEADS, **RANKING, "ranker.architecture": "mlp"},
    ],
)
def test_what_goes_together_is_taken(changes):
    Config().changed(changes)


@pytest.mark.parametrize(
    ("scaling", "sharded"),
    [
        ({}, False),
        ({"workers": 2}, False),
        ({"workers": 2, "strategy": "fsdp"}, True),
        ({"workers": 2, "strategy": "deepspeed"}, False),
        ({"workers": 2, "strategy": "deepspeed", "zero_stage": 3}, True),
        ({"workers": 1, "strategy": "deepspeed", "zero_stage": 3}, False),
    ],
)
def test_where_the_base_is_sharded(scaling, sharded):
    assert ScalingConfig(**scaling).shards_the_base == sharded


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"steps": 5, "epochs": 2}, "training.steps 5 and training.epochs 2 both say how long a run is"),
        ({"steps": 0}, "training.steps 0 takes training.epochs, which is 0 too"),
    ],
)
def test_a_run_has_one_length(training, says):
    with pytest.raises(ValidationError, match=says):
        Config.model_validate({"training": training})
    for alone in ({"epochs": 2}, {"epochs": 2, "steps": 0}):
        assert Config.model_validate({"training": alone}).training.steps == 0

"""The search space in words: what it means, and every way of getting it wrong."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.sweep.space import Choice, Range, Space, combinations, parse_space
from cosdpo.experiment.sweep.trial_settings import check_corners, corners


def config(space: dict[str, str], **sweep: object) -> Config:
    return Config.model_validate({"objectives": ["a", "b"], "sweep": {"space": space, **sweep}})


def parsed(**space: str) -> Space:
    return parse_space(config({key.replace("__", "."): text for key, text in space.items()}))


def refused(key: str, text: str, **changes: object) -> str:
    tree = {"objectives": ["a", "b"], **changes}
    tree["sweep"] = {"space": {key: text}, **tree.get("sweep", {})}  # type: ignore[dict-item]
    with pytest.raises(InputError) as error:
        parse_space(Config.model_validate(tree))
    assert "\n" not in str(error.value)
    return str(error.value)


class TestMeaning:
    def test_ranges(self):
        space = parsed(
            temperature="uniform(0.1, 2)",
            training__learning_rate=" loguniform( 1e-4,1e-2 )",
            model__lora_rank="int(4, 32)",
        )
        assert space["temperature"] == Range("uniform", 0.1, 2.0)
        assert space["training.learning_rate"] == Range("loguniform", 1e-4, 1e-2)
        assert space["model.lora_rank"] == Range("int", 4, 32)
        assert space["temperature"].distribution() == FloatDistribution(0.1, 2.0)
        assert space["training.learning_rate"].distribution() == FloatDistribution(1e-4, 1e-2, log=True)
        assert space["model.lora_rank"].distribution() == IntDistribution(4, 32)

    def test_choices_take_the_type_of_their_key(self):
        space = parsed(
            conditioning="choice(gated_lora, both)",
            temperature="grid(0.05, 1, 2e-1)",
            model__soft_tokens="choice(4, 8)",
            model__adapt_ends="choice(true, false)",
        )
        assert space["conditioning"] == Choice(("gated_lora", "both"))
        assert space["temperature"] == Choice((0.05, 1.0, 0.2))
        assert space["model.soft_tokens"] == Choice((4, 8))
        assert space["model.adapt_ends"] == Choice((True, False))
        assert space["model.soft_tokens"].distribution() == CategoricalDistribution((4, 8))
        assert all(isinstance(value, float) for value in space["temperature"].ends)

    def test_a_grid_runs_all_combinations(self):
        space = parse_space(
            config({"temperature": "grid(0.1, 0.2, 0.4)", "model.gates": "choice(affine, quadratic)"}, search="grid")
        )
        assert combinations(space) == 6


@pytest.mark.parametrize(("key", "text", "says"), [
    ("training.alhpa", "uniform(0.1, 2)", "sweep.space.training.alhpa: unknown key; did you mean training.alpha?"),
    ("training", "uniform(0.1, 2)", "this is a group of keys"),
    ("temperature", "uniform(2, 0.1)", "the bounds of 'uniform(2, 0.1)' are reversed; write uniform(0.1, 2)"),
    ("temperature", "loguniform(2, 0.1)", "the bounds of 'loguniform(2, 0.1)' are reversed; write loguniform(0.1, 2)"),
    *[
        ("temperature", text, "is no distribution; write uniform(0.1, 2), loguniform(1e-4, 1e-2)")
        for text in ("normal(0, 1)", "0.1", "uniform 0.1 2", "uniform(0.1, 2", "", "uniform(0.1, 2) + 1")
    ],
    *[
        ("temperature", text, "needs two numbers, such as uniform(1, 8)")
        for text in ("uniform(0.1)", "uniform(0.1, 1, 2)", "uniform(low, 2)", "uniform()")
    ],
    ("model.lora_rank", "int(1.5, 4)", "needs two whole numbers"),
    ("model.lora_rank", "uniform(4, 32)", "takes whole numbers; write int(4, 32)"),
    ("temperature", "uniform(0.1, inf)", "needs finite bounds"),
    ("temperature", "uniform(nan, 1)", "needs finite bounds"),
    ("temperature", "uniform(1, 1)", "holds one value; set temperature itself"),
    ("training.penalty", "loguniform(0, 1)", "needs bounds above 0"),
    ("conditioning", "int(0, 1)", "list values as choice(...)"),
    ("temperature", "choice(0.1, )", "has an empty value"),
    ("temperature", "choice(0.1, 1e-1)", "has a value twice"),
    ("ranker.dropout", "uniform(0, 0.5)", "a language model does not use it"),
    *[
        (key, "choice(1, 2)", f"sweep.space.{key}: it cannot be searched, for all trials share")
        for key in ("seed", "data.targets", "grid.partitions", "evaluation.samples", "model.base")
    ],
])  # fmt: skip
def test_refused(key, text, says):
    assert says in refused(key, text)


@pytest.mark.parametrize(("key", "text", "got"), [
    ("temperature", "uniform(0, 2)", "'0'"),
    ("training.warmup", "uniform(0.1, 1)", "'1'"),
    ("conditioning", "choice(gated_lora, all)", "'all'"),
    ("model.soft_tokens", "grid(0, 4)", "'0'"),
])  # fmt: skip
def test_values_that_the_key_does_not_accept(key, text, got):
    line = refused(key, text)
    assert line.startswith(f"sweep.space.{key}: expected ")
    assert line.endswith(f"got {got}")


@pytest.mark.parametrize(("key", "text", "says"), [
    ("ranker.base_steps", "int(10, 20)", "share one base ranker"),
    ("ranker.width", "int(10, 20)", "would change the base ranker"),
    ("model.lora_rank", "int(4, 8)", "a ranking model does not use it"),
    ("conditioning", "choice(both, none)", "a ranker has ranker.conditioning"),
])  # fmt: skip
def test_refused_of_a_ranker(key, text, says):
    assert says in refused(key, text, task="ranking")


def test_a_ranker_whose_base_is_given_may_differ_from_it():
    tree = {"task": "ranking", "objectives": ["a"], "model": {"base": "x"}}
    assert parse_space(Config.model_validate({**tree, "sweep": {"space": {"ranker.width": "int(8, 9)"}}}))


def test_an_empty_space_and_a_range_in_a_grid():
    with pytest.raises(InputError, match=r"sweep\.space is empty: say what to search, such as"):
        parse_space(config({}))
    assert "list them as grid(...)" in refused("temperature", "uniform(0.1, 1)", sweep={"search": "grid"})


def test_corners_are_all_combinations_while_they_are_few():
    ends = {"temperature": (0.1, 1.0), "model.gates": ("affine", "quadratic")}
    found = [tuple(corner.values()) for corner in corners(ends)]
    assert found == [(0.1, "affine"), (0.1, "quadratic"), (1.0, "affine"), (1.0, "quadratic")]


def test_settings_that_do_not_go_together(tmp_path):
    one = Config(objectives=["a", "b"], output=tmp_path / "run")
    with pytest.raises(InputError, match=r"sweep\.space allows conditioning none, but conditioning none is for"):
        check_corners(one, {"conditioning": ("gated_lora", "none")})


def test_trials_are_checked_as_every_configuration_is(tmp_path):
    one = Config(objectives=["a", "b"], output=tmp_path / "run")
    message = r"sweep\.space allows training\.target rewards, training\.penalty 0\.5, but training\.penalty is"
    with pytest.raises(InputError, match=message):
        check_corners(one, {"training.target": ("rewards",), "training.penalty": (0.5,)})
    with pytest.raises(InputError, match=r"training\.penalty is for training\.target labels"):
        one.changed({"training.target": "rewards", "training.penalty": 0.5})


def test_a_value_is_judged_alone_before_the_corners_are(tmp_path):
    # 3 heads do not divide the default width, but all widths that are searched.
    one = Config(task="ranking", model={"base": "x"})
    space = {"ranker.heads": "choice(3, 6)", "ranker.width": "choice(12, 24)"}
    assert parse_space(one.changed({"sweep.space": space}))["ranker.heads"].ends == (3, 6)

"""The search space in words: what it means, and every way of getting it wrong."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.sweep.space import Choice, Range, Space, combinations, parse_space
from cosdpo.experiment.sweep.trial_settings import apply, check_corners, corners


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

    def test_settings_change_a_configuration(self):
        changed = apply(config({}), {"temperature": 0.3, "model.lora_rank": 6})
        assert (changed.temperature, changed.model.lora_rank) == (0.3, 6)
        assert changed.model.soft_tokens == Config().model.soft_tokens


class TestRefused:
    def test_empty(self):
        with pytest.raises(InputError, match=r"sweep\.space is empty: say what to search, such as"):
            parse_space(config({}))

    def test_unknown_key(self):
        line = refused("training.alhpa", "uniform(0.1, 2)")
        assert line == "sweep.space.training.alhpa: unknown key; did you mean training.alpha?"

    def test_a_group_of_keys(self):
        assert "this is a group of keys" in refused("training", "uniform(0.1, 2)")

    @pytest.mark.parametrize("text", ["uniform(2, 0.1)", "loguniform(2, 0.1)"])
    def test_reversed_bounds(self, text):
        assert f"the bounds of '{text}' are reversed; write {text.split('(')[0]}(0.1, 2)" in refused(
            "temperature", text
        )

    @pytest.mark.parametrize(
        "text", ["normal(0, 1)", "0.1", "uniform 0.1 2", "uniform(0.1, 2", "", "uniform(0.1, 2) + 1"]
    )
    def test_no_distribution(self, text):
        assert "is no distribution; write uniform(0.1, 2), loguniform(1e-4, 1e-2)" in refused("temperature", text)

    @pytest.mark.parametrize("text", ["uniform(0.1)", "uniform(0.1, 1, 2)", "uniform(low, 2)", "uniform()"])
    def test_wrong_bounds(self, text):
        assert "needs two numbers, such as uniform(1, 8)" in refused("temperature", text)

    def test_broken_whole_numbers(self):
        assert "needs two whole numbers" in refused("model.lora_rank", "int(1.5, 4)")

    def test_fractions_of_a_whole_number(self):
        assert "takes whole numbers; write int(4, 32)" in refused("model.lora_rank", "uniform(4, 32)")

    @pytest.mark.parametrize("text", ["uniform(0.1, inf)", "uniform(nan, 1)"])
    def test_bounds_that_are_not_finite(self, text):
        assert "needs finite bounds" in refused("temperature", text)

    def test_one_value(self):
        assert "holds one value; set temperature itself" in refused("temperature", "uniform(1, 1)")

    def test_logarithm_of_nothing(self):
        assert "needs bounds above 0" in refused("training.penalty", "loguniform(0, 1)")

    def test_numbers_for_words(self):
        assert "list values as choice(...)" in refused("conditioning", "int(0, 1)")

    @pytest.mark.parametrize(
        ("key", "text", "got"),
        [
            ("temperature", "uniform(0, 2)", "'0'"),
            ("training.warmup", "uniform(0.1, 1)", "'1'"),
            ("conditioning", "choice(gated_lora, all)", "'all'"),
            ("model.soft_tokens", "grid(0, 4)", "'0'"),
        ],
    )
    def test_values_that_the_key_does_not_accept(self, key, text, got):
        line = refused(key, text)
        assert line.startswith(f"sweep.space.{key}: expected ")
        assert line.endswith(f"got {got}")

    def test_empty_and_repeated_values(self):
        assert "has an empty value" in refused("temperature", "choice(0.1, )")
        assert "has a value twice" in refused("temperature", "choice(0.1, 1e-1)")

    @pytest.mark.parametrize("key", ["seed", "data.targets", "grid.partitions", "evaluation.samples", "model.base"])
    def test_what_all_trials_share(self, key):
        assert f"sweep.space.{key}: it cannot be searched, for all trials share" in refused(key, "choice(1, 2)")

    def test_the_base_of_rankers(self):
        assert "share one base ranker" in refused("ranker.base_steps", "int(10, 20)", task="ranking")
        assert "would change the base ranker" in refused("ranker.width", "int(10, 20)", task="ranking")
        tree = {
            "task": "ranking",
            "objectives": ["a"],
            "model": {"base": "x"},
            "sweep": {"space": {"ranker.width": "int(8, 9)"}},
        }
        assert parse_space(Config.model_validate(tree))

    def test_keys_of_the_other_task(self):
        assert "a language model does not use it" in refused("ranker.dropout", "uniform(0, 0.5)")
        assert "a ranking model does not use it" in refused("model.lora_rank", "int(4, 8)", task="ranking")
        assert "a ranker has ranker.conditioning" in refused("conditioning", "choice(both, none)", task="ranking")

    def test_ranges_in_a_grid_search(self):
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
        apply(one, {"training.target": "rewards", "training.penalty": 0.5})


def test_a_value_is_judged_alone_before_the_corners_are(tmp_path):
    # 3 heads do not divide the default width, but all widths that are searched.
    one = Config(task="ranking", model={"base": "x"})
    space = {"ranker.heads": "choice(3, 6)", "ranker.width": "choice(12, 24)"}
    assert parse_space(one.changed({"sweep.space": space}))["ranker.heads"].ends == (3, 6)

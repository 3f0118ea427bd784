"""Which trade-offs answer a prompt, what scorers say of the answers, and what is written down of them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosdpo.errors import InputError
from cosdpo.experiment.build import building
from cosdpo.experiment.build.answers import Judge, Stage, stages, weights_for
from cosdpo.experiment.build.building import EMPTY, REPEATED, TOO_FEW, Built
from cosdpo.experiment.build.prompts import Prompt
from cosdpo.experiment.results.build_result import BuiltRound


def test_the_base_has_no_trade_off(asking) -> None:
    assert weights_for(0, asking()) == [[0.5, 0.5]] * 3


def test_a_conditioned_model_answers_along_the_grid(asking) -> None:
    config = asking(build__checkpoint="somewhere", build__samples=4, grid__partitions=7)
    shares = np.array([weights_for(row, config) for row in range(400)])
    assert weights_for(7, config) == weights_for(7, config)
    np.testing.assert_allclose(shares.sum(-1), 1)
    # Of eight weights every second one, from the first or the second on.
    spread = {tuple(np.sort(row[:, 0] * 7).round().astype(int).tolist()) for row in shares}
    assert spread == {(0, 2, 4, 6), (1, 3, 5, 7)}


def test_more_answers_than_weights_take_them_in_turn(asking) -> None:
    config = asking(build__checkpoint="somewhere", build__samples=6, grid__partitions=2)
    assert sorted(w[0] for w in weights_for(3, config)) == [0, 0, 0.5, 0.5, 1, 1]


def test_functions_share_a_process_and_reward_models_do_not(asking) -> None:
    config = asking(
        objectives=["a", "b", "c"],
        evaluation__scorers={"a": "shortness", "b": "hub:some/model", "c": "plainness"},
    )
    functions = Stage({"a": "shortness", "c": "plainness"}, model=False)
    assert stages(config) == [functions, Stage({"b": "hub:some/model"}, model=True)]


def test_a_judge_scores_every_answer() -> None:
    block = pa.table({"text": ["x", "y"], "responses": [["one two", "three"], ["so it goes on"]]})
    judged = Judge({"short": "shortness", "plain": "plainness"})(block)
    assert judged["score:short"].to_pylist() == [[-2, -1], [-4]]
    assert judged["score:plain"].to_pylist() == [[-1, -1], [-1]]


def table(*answers: list[str], first: int = 0, seconds: float = 0.5) -> pa.Table:
    """Answers to prompts as a worker gives them; the score `shortness` is their place from 0, `brevity` minus it."""
    rows = [
        {
            "row": first + i,
            "responses": texts,
            "finished": [True] * len(texts),
            "tokens": [3] * len(texts),
            "weights": [[0.5, 0.5]] * len(texts),
            "score:shortness": [float(k) for k in range(len(texts))],
            "score:brevity": [-float(k) for k in range(len(texts))],
        }
        for i, texts in enumerate(answers)
    ]
    return pa.Table.from_pylist(rows).replace_schema_metadata({"seconds": str(seconds)})


def test_repeated_and_empty_answers_are_dropped_and_counted(asking) -> None:
    config = asking()
    config.output.mkdir()
    prompts = [Prompt({"prompt": text}, text, [3]) for text in ("p", "q", "r")]
    tables = [table(["a", " ", "b"], first=2), table(["a", "b", "a"], ["c", "c", ""])]
    built = building._written(config, prompts, tables, {"prompts dropped: too long": 4})
    rows = pq.read_table(config.output / building.PREFERENCES).to_pylist()
    assert rows == [
        {
            "prompt": "p",
            "responses": ["a", "b"],
            "finished": [True, True],
            "scores": {"shortness": [0, 1], "brevity": [0, -1]},
        },
        {
            "prompt": "r",
            "responses": ["a", "b"],
            "finished": [True, True],
            "scores": {"shortness": [0, 2], "brevity": [0, -2]},
        },
    ]
    assert built == Built(
        prompts=2,
        answers=4,
        tokens=27,
        seconds=1.0,
        dropped={"prompts dropped: too long": 4, REPEATED: 2, EMPTY: 2, TOO_FEW: 1},
    )
    assert Built.read(config.output) == built
    assert json.loads((config.output / building.BUILT).read_text())["answers"] == 4


def test_nothing_to_compare_is_refused(asking) -> None:
    config = asking()
    config.output.mkdir()
    with pytest.raises(InputError, match=r"two different answers: raise build\.sampling_temperature"):
        building._written(config, [Prompt({"prompt": "p"}, "p", [3])], [table(["a", "a"])], {})
    assert not (config.output / building.PREFERENCES).exists()


def test_opposite_pairs_are_those_that_both_objectives_tell_apart(tmp_path) -> None:
    rows = [
        {"prompt": "p", "responses": ["a", "b", "c"], "scores": {"x": [1.0, 2.0, 3.0], "y": [3.0, 3.0, 1.0]}},
        {"prompt": "q", "responses": ["a", "b"], "scores": {"x": [0.0, 1.0], "y": [0.0, 5.0]}},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    built = BuiltRound("answers", tmp_path / "p.parquet", ["x", "y"], 2, 5, 0, 0.0, {})
    # ab is a tie of y; ac and bc are opposite; the second prompt's pair agrees.
    assert built.opposite() == {("x", "y"): pytest.approx(2 / 3)}
    assert built.scores("x").tolist() == [1, 2, 3, 0, 1]

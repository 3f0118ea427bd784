"""The table that prompts become on their way to preferences, block by block: asked, answered, scored.

row, text, ids, weights -> responses, finished, tokens -> score:NAME of every objective
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cosdpo.config import Config
from cosdpo.evaluation.scorers import Scorer, resolve
from cosdpo.simplex import das_dennis

ANSWERING = "answering"
"""What sampling is called where its progress is shown."""

WANTED = pa.schema(
    [
        ("row", pa.int32()),
        ("text", pa.string()),
        ("ids", pa.list_(pa.int32())),
        ("weights", pa.list_(pa.list_(pa.float64()))),
    ]
)
ANSWERS = pa.schema(
    [
        ("responses", pa.list_(pa.string())),
        ("finished", pa.list_(pa.bool_())),
        ("tokens", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True)
class Wanted:
    """A prompt and the weights of each answer to it."""

    row: int
    """Its number among all prompts."""
    text: str
    ids: list[int]
    weights: list[list[float]]
    """[n, m]; the base, which has none, is asked with equal ones."""


def weights_for(row: int, config: Config) -> list[list[float]]:
    """Weights [n, m] of the answers to prompt `row`: n points spread over the grid, from another one on for each
    prompt; the same for all where the base answers.
    """
    n, m = config.build.samples, len(config.objectives)
    if not config.build.checkpoint:
        return [[1 / m] * m] * n
    grid = das_dennis(m, config.partitions)
    first = np.random.default_rng((config.seed, row)).integers(len(grid))
    chosen: list[list[float]] = grid[(first + np.arange(n) * len(grid) // n) % len(grid)].tolist()
    return chosen


class Judge:
    """Scores the answers of blocks by one or more objectives' scorers."""

    def __init__(self, scorers: dict[str, str]) -> None:
        """`scorers`: specification by objective, as in evaluation.scorers."""
        self.scorers: dict[str, Scorer] = {name: resolve(spec) for name, spec in scorers.items()}

    def __call__(self, block: pa.Table) -> pa.Table:
        """The block with a column score:NAME for each of the objectives."""
        lists: list[list[str]] = block["responses"].to_pylist()
        prompts = [text for text, answers in zip(block["text"].to_pylist(), lists, strict=True) for _ in answers]
        responses = [answer for answers in lists for answer in answers]
        for name, scorer in self.scorers.items():
            flat = iter(scorer(prompts, responses))
            scores = [[float(next(flat)) for _ in answers] for answers in lists]
            block = block.append_column(f"score:{name}", pa.array(scores, pa.list_(pa.float64())))
        return block


@dataclass(frozen=True)
class Stage:
    """Scorers that share processes."""

    scorers: dict[str, str]
    """Specification by objective."""
    model: bool
    """Whether they are a reward model, which takes memory and perhaps a GPU."""


def stages(config: Config) -> list[Stage]:
    """All functions share a process, each reward model has its own."""
    models = {name: spec for name, spec in config.evaluation.scorers.items() if spec.startswith("hub:")}
    functions = {name: spec for name, spec in config.evaluation.scorers.items() if name not in models}
    of_models = [Stage({name: spec}, model=True) for name, spec in models.items()]
    return [*([Stage(functions, model=False)] if functions else []), *of_models]

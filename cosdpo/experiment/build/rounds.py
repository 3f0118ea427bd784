"""What jobs/build_preferences.py carries out: preferences from prompts, and rounds of these and of training on them.

OUTPUT/                         preferences of a build without rounds (building.py)
OUTPUT/validation               answers of the first model to the prompts held out, the same for all rounds
OUTPUT/round-1, round-2 ...     preferences of a round; run/ in it is an ordinary run folder
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from cosdpo.config import Config
from cosdpo.config.build import BuildConfig
from cosdpo.errors import InputError
from cosdpo.experiment import job_checks
from cosdpo.experiment.build.building import PREFERENCES, Answerer, build
from cosdpo.experiment.build.prompts import Prompt, read_prompts
from cosdpo.experiment.progress import Phase
from cosdpo.experiment.results.build_result import BuildResult, BuiltRound
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.experiment.run import run
from cosdpo.models.base import context_length, load_config, load_tokenizer
from cosdpo.models.cards import LanguageCard
from cosdpo.models.check import check_architecture
from cosdpo.training import run_folder
from cosdpo.training.unit import CHECKPOINT

VALIDATION, RUN = "validation", "run"


def build_preferences(config: Config, answerer: Answerer) -> Iterator[RunResult | BuildResult]:
    """Makes preferences of build.prompts, and trains on them as often as build.rounds says: every run as it is
    finished, and last what all of it came to.

    Raises:
        InputError: anything wrong with configuration, prompts, models, scorers, cluster or output folder.
    """
    config = located(config)
    check(config)
    with Phase("prompts", config.output):
        prompts, dropped = _prompts(config)
    if not config.build.rounds:
        yield BuildResult(config, [_answered("answers", config, prompts, dropped, answerer)])
        return
    run_folder.create(config)
    asked, held_out = _split(prompts, config)
    alone = config.changed({"build.rounds": 0, "resume": False})
    validation = alone.changed({"output": config.output / VALIDATION})
    build(validation, held_out, {}, answerer)
    rounds: list[BuiltRound] = []
    start = config.build.checkpoint
    for number in range(1, config.build.rounds + 1):
        own = alone.changed({"output": config.output / f"round-{number}", "build.checkpoint": start})
        built = _answered(f"round {number}", own, asked, dropped if number == 1 else {}, answerer)
        place = own.output / RUN
        training = own.changed(
            {
                "output": place,
                "resume": (place / run_folder.CONFIG).exists(),
                "data.train": str(own.output / PREFERENCES),
                "data.validation": str(validation.output / PREFERENCES),
                "data.max_rows": 0,
                "training.start": start,
                "build": BuildConfig(),
            }
        )
        for result in run(training):
            yield result
            rounds.append(built.trained(result.front))
        start = str(place / CHECKPOINT)
    yield BuildResult(config, rounds)


def located(config: Config) -> Config:
    """`config` with absolute paths, and with the base of the checkpoint that answers."""
    if config.build.checkpoint and not config.model.base:
        config = config.changed({"model.base": LanguageCard.read(Path(config.build.checkpoint)).base})
    return job_checks.located(config)


def check(config: Config) -> None:
    """Refuses what can be refused without reading any prompt."""
    job_checks.check_no_push(config, "leave it out, and push that of a round by python -m cosdpo.hub")
    if not config.build.prompts:
        raise InputError("build.prompts is not set: give a hub dataset or a file whose rows have a prompt")
    if not config.evaluation.scorers:
        raise InputError(
            "evaluation.scorers is not set: name one for each objective, such as --evaluation.scorers.positivity "
            "positivity"
        )
    if config.method != "cos":
        raise InputError(f"rounds train the conditioned run: leave out method instead of {config.method}")
    if config.build.checkpoint:
        card = LanguageCard.read(Path(config.build.checkpoint))
        if card.objectives != config.objectives:
            raise InputError(
                f"build.checkpoint {config.build.checkpoint} weighs {', '.join(card.objectives)}, objectives are "
                f"{', '.join(config.objectives)}: name the same in the same order"
            )
    _check_resumed(config)
    job_checks.check(config)


def _check_resumed(config: Config) -> None:
    """Answers that are kept were sampled and scored in the same way."""
    if not config.resume or not (config.output / run_folder.CONFIG).exists():
        return
    before, now = run_folder.stored(config.output)["evaluation"], config.evaluation.model_dump(mode="json")
    if changed := [key for key in ("scorers", "max_new_tokens") if before[key] != now[key]]:
        raise InputError(
            f"output {config.output} was started with other settings of evaluation.{changed[0]}: resume with its own "
            f"(--config {config.output / run_folder.CONFIG}), or name another folder with --output"
        )


def _prompts(config: Config) -> tuple[list[Prompt], dict[str, int]]:
    model = load_config(config.model.base)
    check_architecture(config.model.base, model)
    soft = config.model.soft_tokens if config.conditioning in ("hyper_prompt", "both") else 0
    room = min(config.data.max_length or context_length(model), context_length(model) - soft)
    longest = room - config.evaluation.max_new_tokens
    if longest < 1:
        raise InputError(
            f"evaluation.max_new_tokens {config.evaluation.max_new_tokens} leaves no room for a prompt in {room} "
            "tokens; lower it"
        )
    return read_prompts(config, load_tokenizer(config.model.base), longest)


def _split(prompts: Sequence[Prompt], config: Config) -> tuple[list[Prompt], list[Prompt]]:
    """Those that are trained on, and those held out."""
    count = max(1, round(config.data.validation_share * len(prompts)))
    if count >= len(prompts):
        raise InputError(
            f"{len(prompts)} prompt cannot be parted into some to train on and some to hold out; give more"
        )
    order = np.random.default_rng(config.seed).permutation(len(prompts))
    held_out = set(order[:count].tolist())
    return (
        [prompt for i, prompt in enumerate(prompts) if i not in held_out],
        [prompt for i, prompt in enumerate(prompts) if i in held_out],
    )


def _answered(
    name: str, config: Config, prompts: Sequence[Prompt], dropped: dict[str, int], answerer: Answerer
) -> BuiltRound:
    built = build(config, prompts, dropped, answerer)
    return BuiltRound(name, config.output / PREFERENCES, config.objectives, **asdict(built))

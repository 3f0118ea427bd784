"""One run of a language model, from preferences to report: what every training job calls.

    preferences -> token ids -> reference scores (cached) -> one conditioned run (Ray Train) -> front -> report.html

All that can be wrong with the input is found before Ray starts and before the run folder is made.
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from transformers import PreTrainedTokenizerBase

from cosdpo import cluster, run_folder
from cosdpo.config import Config
from cosdpo.config_file import to_yaml
from cosdpo.data.batching import BatchOrder, PreferenceData
from cosdpo.data.preferences import Preferences
from cosdpo.data.sources import load
from cosdpo.data.tokenization import tokenize
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, Measured, build
from cosdpo.evaluation.measure import Measurement, measure
from cosdpo.evaluation.plots import write_front_png
from cosdpo.evaluation.report import Answer, Sample, write_report
from cosdpo.evaluation.scorers import resolve
from cosdpo.models.base import check_vocabulary, load_base, load_config, load_tokenizer, skeleton
from cosdpo.models.language import LanguageScorer, check_adapters
from cosdpo.simplex import das_dennis
from cosdpo.training.devices import base_dtype
from cosdpo.training.distributed import Job, Outcome, fit
from cosdpo.training.loop import World
from cosdpo.training.progress import progress
from cosdpo.training.reference import model_fingerprint, reference_scores
from cosdpo.training.tracking import check_trackers, read_metrics

log = logging.getLogger("cosdpo")

SAMPLES = "samples.json"
"""The report's prompts and answers, in the run folder."""


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs, checked, before Ray starts."""

    fingerprint: str
    """Identifies the base's weights in the reference cache."""
    train: PreferenceData
    validation: PreferenceData
    prompts: list[str]
    """Held-out prompts that text is generated for: those of the first held-out contexts."""
    notes: dict[str, int]
    """Rows dropped and texts cut, by reason."""


def run(config: Config) -> Front:
    """Trains, measures and reports; returns the front.

    Raises:
        InputError: anything wrong with configuration, data, model, cluster or output folder.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    config = located(config)
    check(config)
    prepared = prepare(config)
    for reason, count in prepared.notes.items():
        log.info("data: %d %s", count, reason)
    cluster.connect(config)
    run_folder.create(config)
    add_reference(config, prepared)
    return finish(config, prepared, train(config, prepared))


def located(config: Config) -> Config:
    """`config` with absolute local paths, since workers have another working directory."""
    base = Path(config.model.base)
    local = config.model.base and base.is_dir()
    model = config.model.model_copy(update={"base": str(base.resolve())}) if local else config.model
    return config.model_copy(update={"output": config.output.resolve(), "model": model})


def check(config: Config) -> None:
    """What can be refused without reading any data."""
    if not config.objectives:
        raise InputError("objectives is not set: name them in order, such as --objectives better safer")
    if len(set(config.objectives)) < len(config.objectives):
        raise InputError(f"objectives {config.objectives} names one twice; name each once")
    if len(config.temperatures) != len(config.objectives):
        raise InputError(
            f"temperature has {len(config.temperatures)} numbers for {len(config.objectives)} objectives; "
            "give one for all, or one each"
        )
    scorers = set(config.evaluation.scorers)
    if scorers and scorers != set(config.objectives):
        raise InputError(
            f"evaluation.scorers names {sorted(scorers)}, objectives are {config.objectives}: give one scorer for each"
        )
    for spec in config.evaluation.scorers.values():
        resolve(spec)
    if config.training.batch_size % config.scaling.workers:
        raise InputError(
            f"training.batch_size {config.training.batch_size} is not a multiple of scaling.workers "
            f"{config.scaling.workers}; change one of them"
        )
    check_trackers(config)
    run_folder.check(config)
    cluster.check_devices(config)


def prepare(config: Config) -> Prepared:
    """Loads tokenizer and data and tokenises them."""
    model = load_config(config.model.base)
    tokenizer = load_tokenizer(config.model.base)
    check_vocabulary(config.model.base, tokenizer, model.vocab_size)
    check_adapters(config, skeleton(model))
    context = int(model.max_position_embeddings)
    if config.data.max_length > context:
        raise InputError(f"data.max_length {config.data.max_length} exceeds the model's context of {context} tokens")
    soft = 0 if config.conditioning == "gated_lora" else config.model.soft_tokens
    room = min(config.data.max_length or context, context - soft)
    train, validation = load_both(config, tokenizer)
    train_tokens = tokenize(train, tokenizer, config.data, room)
    validation_tokens = tokenize(validation, tokenizer, config.data, room)
    data = [
        PreferenceData.of(preferences, tokens.rows, tokens.contexts, None, config.data)
        for preferences, tokens in ((train, train_tokens), (validation, validation_tokens))
    ]
    for side in data:
        side.comparisons(config.objectives)
    BatchOrder(data[0].lengths, config.training.batch_size, config.seed)
    return Prepared(
        fingerprint=model_fingerprint(config.model.base, getattr(model, "_commit_hash", None)),
        train=data[0],
        validation=data[1],
        prompts=[validation.context(row) for row in validation_tokens.rows[: config.evaluation.prompts]],
        notes=_added(train.dropped, validation.dropped, train_tokens.notes, validation_tokens.notes),
    )


def load_both(config: Config, tokenizer: PreTrainedTokenizerBase) -> tuple[Preferences, Preferences]:
    """Training and held-out preferences."""
    render: Any = None
    if tokenizer.chat_template:
        render = partial(tokenizer.apply_chat_template, tokenize=False, add_generation_prompt=True)
    if not config.data.train:
        raise InputError("data.train is not set: give a hub dataset or a .jsonl, .json or .parquet file")
    locations = [location for location in (config.data.train, config.data.validation) if location]
    sides = [load(location, config.objectives, config.data, render) for location in locations]
    if len(sides) == 2:
        return sides[0], sides[1]
    return sides[0].split(config.data.validation_share, config.seed)


def _added(*counts: Mapping[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for reason, count in part.items():
            total[reason] = total.get(reason, 0) + count
    return total


def add_reference(config: Config, prepared: Prepared) -> None:
    """Gives both sides their reference scores, from one pass over both or from the cache."""
    sides = (prepared.train, prepared.validation)
    scores = reference_scores(config, prepared.fingerprint, [side.contexts for side in sides])
    for side, reference in zip(sides, scores, strict=True):
        side.reference = reference


def create_scorer(config: Config, device: torch.device) -> LanguageScorer:
    """A fresh scorer on a worker's device."""
    base = load_base(config.model.base, base_dtype(config, device))
    scorer = LanguageScorer.create(config, base)
    if config.model.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    return scorer.to(device)


def train(config: Config, prepared: Prepared) -> Outcome:
    """The conditioned run on the connected cluster."""
    job = Job(
        config=config.model_dump(mode="json"),
        create=create_scorer,
        data=ray.put(prepared.train),
        finish=partial(_measure_share, data=ray.put(prepared.validation), prompts=prepared.prompts),
    )
    with progress(config.output, config.training.steps):
        return fit(config, job)


def _measure_share(
    scorer: LanguageScorer, config: Config, world: World, data: Any, prompts: list[str]
) -> tuple[Measurement, int, int]:
    """This worker's share of the grid, and the trained and frozen parameter counts."""
    grid = das_dennis(len(config.objectives), config.grid.partitions)
    mine = range(world.rank, len(grid), world.size)
    held_out: PreferenceData = ray.get(data)
    ids = [context.prompt for context in held_out.contexts[: len(prompts)]]
    measurement = measure(scorer, held_out, config, grid, mine, prompts, ids, lead=world.rank == 0)
    trained = scorer.trained_parameters()
    return measurement, trained, sum(p.numel() for p in scorer.parameters()) - trained


def finish(config: Config, prepared: Prepared, outcome: Outcome) -> Front:
    """Writes front.json, front.png and report.html."""
    measurement = Measurement.join([part for part, _, _ in outcome.parts])
    _, trained, frozen = outcome.parts[0]
    grid = das_dennis(len(config.objectives), config.grid.partitions)
    front = build(
        method=config.method,
        task="language",
        objectives=config.objectives,
        seed=config.seed,
        trained_temperature=config.temperature,
        train_seconds=outcome.clock.seconds,
        trained_parameters=trained,
        weights=grid,
        metrics=_metrics(measurement, len(grid)),
    )
    front.save(config.output / "front.json")
    write_front_png(front, config.output / "front.png")
    samples = [
        Sample(
            prompt=prepared.prompts[i],
            answers=[
                Answer(weights=weights, temperature=config.temperatures, text=text)
                for number, weights, text in measurement.answers
                if number == i
            ],
        )
        for i in dict.fromkeys(number for number, _, _ in measurement.answers)
    ]
    (config.output / SAMPLES).write_text(json.dumps([s.model_dump() for s in samples], indent=2), encoding="utf-8")
    write_report(
        config.output,
        front,
        samples,
        read_metrics(config.output),
        to_yaml(config),
        shlex.join(["python", *sys.argv]),
        {
            "base": config.model.base,
            "conditioning": config.conditioning,
            "scope": config.scope,
            "training contexts": len(prepared.train),
            "held-out contexts": len(prepared.validation),
            "workers": config.scaling.workers,
            "base_parameters": frozen,
        },
        prepared.notes,
    )
    return front


def _metrics(measurement: Measurement, points: int) -> dict[str, Measured]:
    profiles = [measurement.profiles[i] for i in range(points)]
    base = measurement.base_profile
    assert base is not None
    half = np.full_like(base.accuracy, 0.5)
    metrics = {
        "accuracy": Measured(np.stack([p.accuracy for p in profiles]), base.accuracy, half),
        "loss": Measured(np.stack([p.loss for p in profiles]), base.loss, base.loss, higher_is_better=False),
    }
    if measurement.base_reward is not None:
        rewards = np.stack([measurement.rewards[i] for i in range(points)])
        metrics["reward"] = Measured(rewards, measurement.base_reward, measurement.base_reward)
    return metrics


def print_samples(config: Config) -> None:
    """Prints the first sample prompt and its answers along the trade-off."""
    first = json.loads((config.output / SAMPLES).read_text(encoding="utf-8"))[0]
    print(f"\n{first['prompt']}")
    for answer in first["answers"]:
        shares = zip(config.objectives, answer["weights"], strict=True)
        print("  " + " ".join(f"{name} {share:.2f}" for name, share in shares) + f" | {answer['text']}")
    print()


def print_front(config: Config, front: Front) -> None:
    """Prints the figures of the front and where the report is."""
    for name, metric in front.metrics.items():
        steering = ", ".join(f"{o} {c:.2f}" for o, c in zip(front.objectives, metric.controllability, strict=True))
        reference = ", ".join(f"{value:.3g}" for value in metric.reference_point)
        print(f"{name}: hypervolume {metric.hypervolume:.4g} above ({reference}); controllability {steering}")
    print(f"trained in {front.train_seconds:.0f} s; report: {config.output / 'report.html'}")

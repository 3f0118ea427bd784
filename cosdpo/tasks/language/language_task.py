"""Language models: tokenised preferences, log-probabilities as scores; accuracy, loss and rewards are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import ray
import torch
from transformers import PreTrainedTokenizerBase

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.batching import BatchOrder, PreferenceData, of_epochs
from cosdpo.data.containers import LOCAL
from cosdpo.data.preferences import Preferences
from cosdpo.data.sources import load
from cosdpo.data.tokenization import TokenizedContext, tokenize
from cosdpo.data.turns import chat_template
from cosdpo.errors import InputError
from cosdpo.evaluation.between import interpolation
from cosdpo.evaluation.bootstrap import PerContext
from cosdpo.evaluation.front import Main
from cosdpo.evaluation.measure import Measurement
from cosdpo.evaluation.samples import Answer, Sample
from cosdpo.evaluation.scorers import resolve
from cosdpo.models.adapter_settings import check_start
from cosdpo.models.averaging import average
from cosdpo.models.base import check_vocabulary, context_length, load_base, load_config, load_tokenizer, skeleton
from cosdpo.models.check import check_architecture
from cosdpo.models.language_scorer import LanguageScorer, check_adapters
from cosdpo.models.temperature import SMALLEST_RATIO
from cosdpo.tasks import demo
from cosdpo.tasks.language.language_measurement import along, measure_share, metrics_of
from cosdpo.tasks.task import Average, Findings, Measure, Task
from cosdpo.training.devices import base_dtype
from cosdpo.training.reference import model_fingerprint, reference_scores

SMALL = 64
"""Hidden size up to which a model is small."""


class LanguageTask(Task):
    """Tokenised preferences, and the held-out prompts that text is generated for."""

    name = "language"
    job = "train_gpt2.py"
    conditioning = "conditioning"
    conditionings = ("hyper_prompt", "gated_lora", "both")
    plans_memory = True
    example_key = "model.lora_rank"
    train: PreferenceData
    held_out: PreferenceData

    def __init__(
        self,
        config: Config,
        fingerprint: str,
        sides: tuple[PreferenceData, PreferenceData],
        prompts: list[str],
        notes: dict[str, int],
        chat: bool = False,
    ) -> None:
        """Holds what `prepare` read.

        Args:
            fingerprint: identifies the base's weights in the reference cache.
            sides: training and held-out data.
            prompts: those of the first held-out contexts.
            chat: whether all of `sides` are chats.
        """
        self.config = config
        self.fingerprint = fingerprint
        self.train, self.held_out = sides
        self.prompts = prompts
        self.chat = chat
        self.notes = notes

    @staticmethod
    def metrics(config: Config) -> list[str]:
        """Accuracy and loss, and with scorers the reward of generated text."""
        return ["accuracy", "loss", *(["reward"] if config.evaluation.scorers else [])]

    @staticmethod
    def resolved(config: Config) -> Config:
        """Learning rates that suit the width of the base, where none are given."""
        open_keys = [
            key for key in ("learning_rate", "prompt_learning_rate") if key not in config.training.model_fields_set
        ]
        if not config.model.base or not open_keys:
            return config
        share = rate_for_width(load_config(config.model.base, weights=False).hidden_size)
        return config.changed({f"training.{key}": getattr(config.training, key) * share for key in open_keys})

    @staticmethod
    def with_demo_data(config: Config) -> Config:
        """The synthetic world's base and preferences, which are made once and cached."""
        return config if config.model.base or config.data.train else demo.with_demo_data(config)

    @staticmethod
    def why_not_searched(key: str, config: Config) -> str:
        """Trials have nothing of a ranker."""
        return "a language model does not use it" if key.startswith("ranker.") else ""

    @staticmethod
    def fitting(config: Config) -> Callable[[Config], None]:
        """Whether adapters fit the base."""
        if not config.model.base:
            return lambda other: None
        return partial(check_adapters, base=skeleton(load_config(config.model.base)))

    @staticmethod
    def for_trials(config: Config, searched: Mapping[str, Sequence[Any]]) -> Config:
        """Every trial sees the same tokens, whatever room its soft tokens take."""
        if not config.model.base or not {"conditioning", "model.soft_tokens"} & searched.keys():
            return config
        kinds = searched.get("conditioning", [config.conditioning])
        if not {"hyper_prompt", "both"} & set(kinds):
            return config
        soft = searched.get("model.soft_tokens", [config.model.soft_tokens])
        room = context_length(load_config(config.model.base)) - max(int(count) for count in soft)
        return config.changed({"data.max_length": min(config.data.max_length or room, room)})

    @staticmethod
    def check(config: Config) -> None:
        """What can be refused without reading any data."""
        scorers = set(config.evaluation.scorers)
        if scorers and scorers != set(config.objectives):
            raise InputError(
                f"evaluation.scorers names {sorted(scorers)}, objectives are {config.objectives}: give one scorer for "
                "each"
            )
        for spec in config.evaluation.scorers.values():
            resolve(spec)
        if config.training.start:
            check_start(config)
        if min(config.ratios) < SMALLEST_RATIO:
            raise InputError(
                f"grid.temperatures has {min(config.ratios):g}; a language model can be rescaled to no less than "
                f"{SMALLEST_RATIO:g} of its trained temperature"
            )

    @classmethod
    def prepare(cls, config: Config) -> Self:
        """Loads tokenizer and data and tokenises them."""
        model = load_config(config.model.base)
        check_architecture(config.model.base, model)
        tokenizer = load_tokenizer(config.model.base)
        check_vocabulary(config.model.base, tokenizer, model.vocab_size)
        check_adapters(config, skeleton(model))
        context = context_length(model)
        if config.data.max_length > context:
            raise InputError(
                f"data.max_length {config.data.max_length} exceeds the model's context of {context} tokens"
            )
        kinds = {config.conditioning, *config.comparison.conditionings}
        soft = config.model.soft_tokens if kinds & {"hyper_prompt", "both"} else 0
        room = min(config.data.max_length or context, context - soft)
        train, held_out = _load_both(config, tokenizer)
        train_tokens = tokenize(train, tokenizer, config.data, room)
        held_out_tokens = tokenize(held_out, tokenizer, config.data, room)
        sides = tuple(
            PreferenceData(tokens.contexts, tokens.scores, None, config.data)
            for tokens in (train_tokens, held_out_tokens)
        )
        for side in sides:
            side.comparisons(config.objectives)
        BatchOrder(sides[0].lengths, config.training.batch_size, config.seed)
        return cls(
            of_epochs(config, len(sides[0])),
            fingerprint=model_fingerprint(config.model.base, getattr(model, "_commit_hash", None)),
            sides=(sides[0], sides[1]),
            prompts=[held_out.question(row) for row in held_out_tokens.rows[: config.evaluation.prompts]],
            chat=all(side.is_chat for side in (train, held_out)),
            notes=_added(train.dropped, held_out.dropped, train_tokens.notes, held_out_tokens.notes),
        )

    def add_reference(self) -> None:
        """Gives both sides their reference scores, from one pass over both or from the cache."""
        sides = (self.train, self.held_out)
        scores = reference_scores(self.config, self.fingerprint, [side.contexts for side in sides])
        for side, reference in zip(sides, scores, strict=True):
            side.reference = reference

    @property
    def create(self) -> Callable[[Config, torch.device], LanguageScorer]:
        """Builds a fresh scorer on a worker's device."""
        return partial(_create, chat=self.chat)

    @property
    def average(self) -> Average:
        """Loads trained scorers; averages are exact sums of their LoRA updates."""
        return _average

    def measure(self) -> Measure:
        """Measures scorers on the held-out data."""
        return partial(measure_share, data=ray.put(self.held_out), prompts=self.prompts)

    def findings(self, parts: Sequence[Any], grid: Floats, curve: Floats | None = None) -> Findings:
        """Joins the measurements of all workers."""
        measurement = Measurement.join(parts)
        nats = PerContext.by_temperature([measurement.divergences[i] for i in range(len(grid))])
        between = None
        if curve is not None:
            metrics, price = along(measurement, self.held_out, self.config, interpolation(grid, curve))
            between = Findings(metrics, _price(price))
        return Findings(metrics_of(measurement, len(grid)), _price(nats), self._samples(measurement), curve=between)

    def _samples(self, measurement: Measurement) -> list[Sample]:
        return [
            Sample(
                prompt=self.prompts[i],
                answers=[
                    Answer(weights=weights, temperature=self.config.temperatures, text=text)
                    for number, weights, text in measurement.answers
                    if number == i
                ],
            )
            for i in dict.fromkeys(number for number, _, _ in measurement.answers)
        ]

    def step_flops(self) -> float:
        """Estimated from the base's parameters and the mean length; the frozen base needs no gradient of its own."""
        skeleton_parameters = sum(p.numel() for p in skeleton(load_config(self.config.model.base)).parameters())
        tokens = float(np.mean(self.train.lengths)) * self.config.training.batch_size
        return step_flops(self.config, skeleton_parameters, tokens)

    @property
    def contexts(self) -> Sequence[TokenizedContext]:
        """The training contexts."""
        contexts: Sequence[TokenizedContext] = self.train.contexts
        return contexts

    def facts(self) -> dict[str, str | int | float]:
        """Base, conditioning and sizes."""
        return {
            "base": self.config.model.base,
            "conditioning": self.config.conditioning,
            "scope": self.config.scope,
            "training contexts": len(self.train),
            "held-out contexts": len(self.held_out),
        }


def _price(nats: PerContext) -> Main:
    return Main.of("KL to base", "nats/token", nats, base=0.0, higher_is_better=False)


def rate_for_width(width: int) -> float:
    """The share of a small model's learning rate for a base of that hidden size; to three digits, as people write it.

    Ours: .002 was found best at a width of 64 and .0004 at 576 (docs/EXPERIMENTS.md); in between and beyond, the power
    that joins the two.
    """
    return float(f"{min(1.0, (SMALL / width) ** 0.75):.3g}")


def step_flops(config: Config, parameters: int, tokens: float) -> float:
    """2 operations per parameter and token forward, 2 backward, and 2 to compute again what was not kept."""
    return (6.0 if config.model.gradient_checkpointing else 4.0) * parameters * tokens


def _load_both(config: Config, tokenizer: PreTrainedTokenizerBase) -> tuple[Preferences, Preferences]:
    """Training and held-out preferences."""
    template = chat_template(tokenizer)
    if not config.data.train:
        raise InputError(f"data.train is not set: give a hub dataset or {LOCAL}")
    locations = [location for location in (config.data.train, config.data.validation) if location]
    sides = [load(location, config.objectives, config.data, template) for location in locations]
    if len(sides) == 2:
        return sides[0], sides[1]
    return sides[0].split(config.data.validation_share, config.seed)


def _added(*counts: Mapping[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for reason, count in part.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _create(config: Config, device: torch.device, chat: bool = False) -> LanguageScorer:
    base = load_base(config.model.base, base_dtype(config, device), config.model.quantization)
    scorer = LanguageScorer.create(config, base)
    scorer.card = scorer.card.model_copy(update={"chat": chat})
    if config.training.start:
        scorer.start_from(Path(config.training.start))
    return scorer.to(device)


def _average(shares: Mapping[Path, float], config: Config, device: torch.device) -> LanguageScorer:
    return average(shares, base_dtype(config, device), device, config.model.quantization)

"""All that is measured of a trained language scorer: its profile over the weight grid, generated text and rewards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from cosdpo.activity import advance
from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.data.turns import end_tokens
from cosdpo.evaluation.bootstrap import PerContext
from cosdpo.evaluation.profile import Profile, divergence, profile, profiles
from cosdpo.models.base import load_tokenizer
from cosdpo.models.generation import decode, generate
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.simplex import showcase

Scorer = Callable[[Sequence[str], Sequence[str]], list[float]]


@dataclass
class Measurement:
    """Measured values by grid index, and the texts of the report."""

    profiles: dict[int, list[Profile]] = field(default_factory=dict)
    """A profile for each of the R temperatures, as are the rewards and divergences."""
    rewards: dict[int, PerContext] = field(default_factory=dict)
    """Scores of generated text per objective, their mean [R, m]; empty without scorers."""
    divergences: dict[int, PerContext] = field(default_factory=dict)
    """KL from the base per token, in nats, its mean [R, 1]."""
    base_profile: Profile | None = None
    base_reward: PerContext | None = None
    answers: list[tuple[int, list[float], str]] = field(default_factory=list)
    """(prompt index, weights, text), prompt by prompt along the trade-off."""

    @staticmethod
    def join(parts: Sequence[Measurement]) -> Measurement:
        """One measurement from the workers' shares; the first part is the lead's."""
        whole = parts[0]
        for part in parts[1:]:
            whole.profiles |= part.profiles
            whole.rewards |= part.rewards
            whole.divergences |= part.divergences
        return whole


def measure(
    scorer: LanguageScorer,
    data: PreferenceData,
    config: Config,
    grid: Floats,
    mine: Iterable[int],
    prompts: Sequence[str],
    prompt_ids: Sequence[list[int]],
    lead: bool = True,
    illustrate: bool = True,
    ratios: Sequence[float] = (1.0,),
) -> Measurement:
    """Measures the grid points `mine` at every multiple c of the trained temperature; the lead also measures the base,
    and writes the sample answers when it is to `illustrate` the trade-off.

    All temperatures share the passes over the held-out data; generated text they cannot share.
    """
    result = Measurement()
    beta = np.array(config.temperatures)
    tokens = config.evaluation.batch_tokens
    score = partial(scorer.rescaled_to_each, ratios=ratios)
    writer = _Writer(scorer, config, prompts, prompt_ids)
    for index in mine:
        w = grid[index]
        result.profiles[index] = profiles(score, data, w, beta, ratios, tokens, scorer.device)
        result.divergences[index] = divergence(scorer, data, config.evaluation.prompts, w, beta, ratios, tokens)
        if config.evaluation.scorers:
            result.rewards[index] = PerContext.stacked([writer.reward(w, c) for c in ratios])
        advance()
    if lead:
        flat = np.full(len(beta), 1 / len(beta))
        result.base_profile = profile(None, data, flat, beta, tokens, scorer.device)
        if config.evaluation.scorers:
            result.base_reward = writer.reward(None)
        for number in range(min(3, len(prompts)) if illustrate else 0):
            for weights in showcase(len(beta), config.evaluation.samples):
                result.answers.append((number, weights.tolist(), writer.answer(weights, number)))
    return result


class _Writer:
    """Generates text at a trade-off and scores it."""

    def __init__(
        self, scorer: LanguageScorer, config: Config, prompts: Sequence[str], prompt_ids: Sequence[list[int]]
    ) -> None:
        self.scorer = scorer
        self.config = config
        self.prompts = list(prompts)
        self.prompt_ids = list(prompt_ids)
        self.tokenizer = load_tokenizer(config.model.base)
        self.ends = end_tokens(self.tokenizer, scorer.model.get_base_model())
        self.scorers: list[Scorer] = []
        if config.evaluation.scorers:
            from cosdpo.evaluation.scorers import resolve  # loads reward models and word lists, so only when asked for

            self.scorers = [resolve(config.evaluation.scorers[name]) for name in config.objectives]

    def texts(self, weights: Floats | None, chosen: Sequence[int], c: float = 1.0) -> list[str]:
        evaluation, rows = self.config.evaluation, (len(chosen), len(self.config.objectives))
        device = self.scorer.device
        beta = torch.tensor(self.config.temperatures, device=device).expand(rows)
        w = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device).expand(rows)
        ids = generate(
            self.scorer,
            [self.prompt_ids[i] for i in chosen],
            w,
            beta,
            evaluation.max_new_tokens,
            evaluation.sampling_temperature,
            self.config.seed,
            self.ends,
            ratios=[c] * len(chosen),
        )
        return decode(self.tokenizer, ids)

    def reward(self, weights: Floats | None, c: float = 1.0) -> PerContext:
        """Scores per objective of the answers to all prompts."""
        texts = self.texts(weights, range(len(self.prompts)), c)
        scores = np.array([score(self.prompts, texts) for score in self.scorers], dtype=np.float64).T
        return PerContext(scores, np.ones_like(scores))

    def answer(self, weights: Floats, number: int) -> str:
        return self.texts(weights, [number])[0]

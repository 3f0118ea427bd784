"""A trained model in Python: its front, and the model at any point of it.

front = cosdpo.load("runs/mine/checkpoint")
helpful = front.at(helpful=0.7, harmless=0.3)
helpful.generate(["How do I keep bees?"])
helpful.score("How do I keep bees?", ["With care.", "Not at all."])
cosdpo.load("runs/ltr/checkpoint").at(quality=1).rank(features)      # a ranker
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from cosdpo import hub_check as hub
from cosdpo.arrays import Floats
from cosdpo.data.conversations import chat
from cosdpo.data.tokenization import TokenizedContext, tokenize_chat, tokenize_prompts, tokenize_responses
from cosdpo.data.turns import ChatTemplate, Message, chat_template, end_tokens
from cosdpo.errors import InputError
from cosdpo.evaluation.choosing import KNEE, ChosenPoint, choose
from cosdpo.evaluation.front import Front, Point, front_path
from cosdpo.export import ExportSettings, export
from cosdpo.models.base import load_tokenizer
from cosdpo.models.cards import RankingCard, checkpoint_folder, read_card
from cosdpo.models.generation import decode, generate
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.models.temperature import SMALLEST_RATIO, Temperature, ratio, temperatures
from cosdpo.simplex import normalise

Prompt = str | Sequence[Mapping[str, Any]]
"""A text as a person writes it, or chat messages with role and content."""


def load(place: str | Path, device: str = "", dtype: torch.dtype | None = None, base: str = "") -> LoadedFront:
    """The model of a run, ready to use.

    Args:
        place: checkpoint folder, run folder, or name of a model on the hub that holds a checkpoint.
        device: such as cuda:0; by default the GPU if there is one.
        dtype: of a language model's frozen base; bfloat16 on a GPU and float32 on a CPU by default.
        base: where the base is found, if not where the checkpoint says.

    Raises:
        InputError: there is no checkpoint, or a broken one, or its base cannot be loaded.
    """
    folder = _folder(place)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(read_card(folder), RankingCard):
        return LoadedFront(folder, RankingScorer.load(folder, device))
    wanted = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
    return LoadedFront(folder, LanguageScorer.load(folder, wanted, device, base), base)


def _folder(place: str | Path) -> Path:
    folder = Path(place).expanduser()
    if folder.is_dir():
        return checkpoint_folder(folder)
    if folder.exists() or str(place).startswith((".", "/", "~")) or str(place).count("/") != 1:
        raise InputError(f"{place}: no such folder; give the checkpoint folder of a run")
    return checkpoint_folder(hub.download(str(place), "give the checkpoint folder of a run"))


class LoadedFront:
    """A conditioned model, which is one model for every weighting of its objectives."""

    def __init__(self, folder: Path, scorer: LanguageScorer | RankingScorer, base: str = "") -> None:
        self.folder = folder
        self.scorer = scorer
        self.base = base or (scorer.card.base if isinstance(scorer, LanguageScorer) else "")

    def __repr__(self) -> str:
        return f"<{self.scorer.card.kind} over {', '.join(self.objectives)} in {self.folder}>"

    @property
    def objectives(self) -> list[str]:
        """Names of the objectives, in the order of the weights."""
        return self.scorer.card.objectives

    @property
    def trained_temperature(self) -> list[float]:
        """[m] DPO temperature of each objective in training."""
        return self.scorer.card.trained_temperature

    @cached_property
    def front(self) -> Front | None:
        """What the run measured; None where it left no front.json beside its checkpoint or in it."""
        path = front_path(self.folder)
        return Front.load(path) if path.exists() else None

    @property
    def points(self) -> list[Point]:
        """The measured trade-offs, with their weights and metrics; empty where there is no front."""
        return [] if self.front is None else list(self.front.points)

    def choose(
        self,
        at_least: Mapping[str, float] | None = None,
        at_most: Mapping[str, float] | None = None,
        best: str = KNEE,
        metric: str = "",
    ) -> tuple[ModelAt, ChosenPoint]:
        """The model at the point where something must hold, and what the front says of it (evaluation/choosing.py).

        Raises:
            InputError: the run left no front, or one without these names.
        """
        if self.front is None:
            raise InputError(f"{self.folder} has no front.json beside it, which points are chosen by")
        choice = choose(self.front, at_least, at_most, best, metric)
        return self.at(choice.weights), choice

    def at(
        self,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        temperature: Temperature = None,
        **by_name: float,
    ) -> ModelAt:
        """The model at one trade-off; all objectives weigh the same by default.

        Args:
            weights: in the order of the objectives, or by name, where absent ones weigh 0; scaled to sum 1.
            temperature: DPO temperature, one or one per objective; None is the trained one.
            by_name: weights by name, instead of `weights`.

        Raises:
            InputError: weights or a temperature that the model cannot have.
        """
        if by_name and weights is not None:
            raise InputError("weights are given twice: as a list or mapping, and by name; leave one out")
        given = by_name or ([1.0] * len(self.objectives) if weights is None else weights)
        card = self.scorer.card
        beta = temperatures(temperature, card.trained_temperature, card.temperature_conditioned)
        c = ratio(beta, card.trained_temperature, SMALLEST_RATIO if isinstance(self.scorer, LanguageScorer) else 0.0)
        return ModelAt(self, normalise(given, self.objectives), beta, c)


class ModelAt:
    """The model at one trade-off."""

    def __init__(self, front: LoadedFront, weights: Floats, temperature: Floats, c: float) -> None:
        self.front = front
        self.weights = weights
        """[m], summing to 1."""
        self.temperature = temperature
        """[m]"""
        self._c = c

    def __repr__(self) -> str:
        shares = zip(self.front.objectives, self.weights, strict=True)
        return f"<{', '.join(f'{name} {share:.3g}' for name, share in shares)} of {self.front!r}>"

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        max_new_tokens: int = 128,
        sampling_temperature: float = 0.8,
        seed: int = 0,
    ) -> list[str]:
        """An answer to each prompt; that to a prompt does not depend on the others.

        Args:
            prompts: one or several.
            sampling_temperature: 0 takes the likeliest tokens. Not the DPO temperature.

        Raises:
            InputError: an empty or too long prompt, or the model is a ranker.
        """
        scorer = self._language()
        rows = [self._prompt(prompt) for prompt in _listed(prompts)]
        if not rows:
            return []
        weights, beta = (self._rows(values, len(rows)) for values in (self.weights, self.temperature))
        ends = end_tokens(self._tokenizer, scorer.model.get_base_model())
        ids = generate(
            scorer, rows, weights, beta, max_new_tokens, sampling_temperature, seed, ends, [self._c] * len(rows)
        )
        return decode(self._tokenizer, ids)

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> Floats:
        """log pi(candidate | prompt), summed over the tokens of each candidate, [n].

        Raises:
            InputError: an empty prompt or candidate, or the model is a ranker.
        """
        scorer = self._language()
        template, messages = self._chat(prompt)
        if template is not None and messages is not None:
            text = template.prompt(messages)
            answers = [template.response(text, messages, answer) for answer in candidates]
            ids, rows = tokenize_chat(self._tokenizer, text, answers, scorer.card.append_eos)
        else:
            ids = self._prompt(prompt)
            texts = [scorer.card.response_template.replace("{response}", answer) for answer in candidates]
            rows = tokenize_responses(self._tokenizer, texts, scorer.card.append_eos)
        if not all(rows):
            raise InputError(f"candidate {rows.index([])} has no tokens; give it text")
        context = TokenizedContext(ids, rows)
        weights, beta = self._rows(self.weights, 1), self._rows(self.temperature, 1)
        scores: Floats = scorer.rescaled([context], weights, beta, self._c)[0].double().cpu().numpy()
        return scores

    def rank(self, features: npt.ArrayLike) -> Floats:
        """Scores of the documents of one query, [n]; the higher, the better.

        Args:
            features: [n, F] as `RankingScorer.score` takes them.

        Raises:
            InputError: features of another width or not finite, or the model is a language model.
        """
        scorer = self.front.scorer
        if isinstance(scorer, LanguageScorer):
            raise InputError("the checkpoint is a language model, which ranks no documents; use generate or score")
        return scorer.score(features, self.weights.tolist(), self.temperature.tolist())

    def export(self, to: str | Path, merge: bool = False) -> Path:
        """Writes this point as a plain PEFT adapter, or with `merge` as a whole model (cosdpo/export.py).

        Raises:
            InputError: it has no such form, or the folder exists or cannot be written.
        """
        self._language()
        named = zip(self.front.objectives, self.weights.tolist(), strict=True)
        settings = ExportSettings(
            checkpoint=self.front.folder,
            weights=",".join(f"{name}={share!r}" for name, share in named),
            to=Path(to),
            temperature=self.temperature.tolist(),
            merge=merge,
            base=self.front.base,
        )
        return export(settings)

    def _language(self) -> LanguageScorer:
        scorer = self.front.scorer
        if isinstance(scorer, RankingScorer):
            raise InputError("the checkpoint is a ranker, which writes and scores no text; use rank")
        return scorer

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.front.base)

    def _chat(self, prompt: Prompt) -> tuple[ChatTemplate | None, list[Message] | None]:
        """The chat that a prompt is, and the template that writes it; None of a text to a model of texts."""
        template = chat_template(self._tokenizer)
        if isinstance(prompt, str):
            asked = self._language().card.chat and prompt.strip()
            return template, [{"role": "user", "content": prompt}] if asked else None
        if template is None:
            raise InputError("the prompt is a chat but the tokenizer has no chat template; give prompts as text")
        try:
            return template, chat([dict(message) for message in prompt], "prompt")
        except ValueError as wrong:
            raise InputError(str(wrong)) from None

    def _prompt(self, prompt: Prompt) -> list[int]:
        """A prompt as token ids."""
        template, messages = self._chat(prompt)
        if template is not None and messages is not None:
            return tokenize_prompts(self._tokenizer, [template.prompt(messages)], chat=True)[0]
        text = self._language().card.prompt_template.replace("{prompt}", str(prompt))
        return tokenize_prompts(self._tokenizer, [text])[0]

    def _rows(self, values: Floats, count: int) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.front.scorer.device).expand(count, -1)


def _listed(prompts: Prompt | Sequence[Prompt]) -> Sequence[Prompt]:
    """Several prompts, of one or several."""
    if isinstance(prompts, str):
        return [prompts]
    first: Any = next(iter(prompts), None)
    return [prompts] if isinstance(first, Mapping) else prompts  # type: ignore[list-item,return-value]

"""Answers to many prompts at once, without a service: what jobs/build_preferences.py has workers of Ray Data do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cosdpo.activity import advance, counting
from cosdpo.config import Config
from cosdpo.experiment.build.answers import ANSWERING, ANSWERS, Wanted
from cosdpo.models.base import load_base, load_tokenizer
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.training.devices import base_dtype, worker_device
from serve.engine.continuous_batching import ContinuousBatching
from serve.engine.engine_settings import EngineSettings
from serve.engine.kv_memory import SMALLEST_CLASS
from serve.engine.requests import Chunk, Generation, SamplingParams

BASE = float("inf")
"""The temperature at which a conditioned model is its base."""


class PromptAnswerer:
    """A model that answers blocks of prompts."""

    def __init__(self, config: Config, longest: int) -> None:
        """Loads the checkpoint build.checkpoint, or model.base.

        Args:
            longest: tokens of the longest prompt.
        """
        self.config = config
        device = worker_device(config.scaling.use_gpu)
        torch.set_num_threads(config.scaling.worker_threads)
        dtype, model = base_dtype(config, device), config.model
        if config.build.checkpoint:
            scorer = LanguageScorer.load(
                Path(config.build.checkpoint), dtype, str(device), model.base, model.quantization
            )
            self.beta = scorer.card.trained_temperature
        else:
            scorer = LanguageScorer.create(config, load_base(model.base, dtype, model.quantization)).to(device).eval()
            self.beta = [BASE] * len(config.objectives)
        rows, each = max(2, config.build.rows), longest + scorer.card.soft_tokens + config.evaluation.max_new_tokens
        prefixes = rows * longest
        # Slots are of a few sizes: the smallest, or up to twice what is needed.
        slots = rows * max(SMALLEST_CLASS, 2 * each)
        settings = EngineSettings(
            max_running=rows,
            kv_tokens=slots + prefixes,
            prefix_tokens=prefixes,
            prefill_tokens=max(256, longest),
        )
        self.batching = ContinuousBatching(scorer, load_tokenizer(model.base), settings)
        before, _, after = config.data.response_template.partition("{response}")
        self.template = before, after

    @torch.inference_mode()
    def __call__(self, block: pa.Table) -> pa.Table:
        """The rows {row, text, ids, weights} and their answers {responses, finished, tokens}."""
        config, evaluation = self.config, self.config.evaluation
        wanted = [Wanted(**row) for row in block.to_pylist()]
        answers: dict[tuple[int, int], list[Chunk]] = {}
        with counting(config.output, ANSWERING):
            for prompt in wanted:
                for number, weights in enumerate(prompt.weights):
                    chunks = answers[prompt.row, number] = []
                    seed = np.random.SeedSequence((config.seed, prompt.row, number)).generate_state(1)[0]
                    request = Generation(
                        prompt=tuple(prompt.ids),
                        weights=tuple(weights),
                        temperature=tuple(self.beta),
                        max_new_tokens=evaluation.max_new_tokens,
                        sampling=SamplingParams(
                            temperature=config.build.sampling_temperature, top_p=config.build.top_p, seed=int(seed)
                        ),
                    )
                    self.batching.add(self.batching.sequence(request, _taken_by(chunks)))
            while self.batching.busy:
                before = self.batching.stats.tokens
                self.batching.step()
                advance(0, tokens=self.batching.stats.tokens - before)
        texts = [[self._text(answers[p.row, i]) for i in range(len(p.weights))] for p in wanted]
        ends = [[answers[p.row, i][-1] for i in range(len(p.weights))] for p in wanted]
        columns = {
            "responses": pa.array(texts, pa.list_(pa.string())),
            "finished": [[end.finish_reason == "stop" for end in row] for row in ends],
            "tokens": [[end.usage.completion_tokens for end in row] for row in ends],
        }
        for name, values in columns.items():
            block = block.append_column(ANSWERS.field(name), pa.array(values, ANSWERS.field(name).type))
        return block

    def _text(self, chunks: list[Chunk]) -> str:
        before, after = self.template
        return "".join(chunk.text for chunk in chunks).removeprefix(before).removesuffix(after)


def _taken_by(chunks: list[Chunk]) -> Any:
    def take(item: Chunk | Exception) -> None:
        if isinstance(item, Exception):
            raise item
        chunks.append(item)
        if item.finish_reason is not None:
            advance()

    return take

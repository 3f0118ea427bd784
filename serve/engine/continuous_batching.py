"""The engine without its thread: sequences in, one step at a time, chunks out.

One step is one pass of the model: a token for every decoding row, and a bounded number of prompt tokens. Between two
steps sequences join, leave, and are cancelled.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cosdpo.data.turns import end_tokens
from cosdpo.errors import InputError
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.temperature import ratio
from cosdpo.models.transfer import on_device, to_host
from serve.engine.attention import PrefillChunk
from serve.engine.decoding_batch import DecodingBatch
from serve.engine.echoes import Echoes
from serve.engine.engine_settings import EngineSettings
from serve.engine.grammars import Grammars, TokenMasks
from serve.engine.kv_memory import KvMemory, KvShape
from serve.engine.model_pass import ModelPass
from serve.engine.prefixes import Prefix, Prefixes
from serve.engine.requests import EngineStats, EngineStopped, Generation, TokenLogprob, UnusableSchemaError
from serve.engine.row_conditioning import Conditioner
from serve.engine.sampling import choose, log_probabilities, uniforms
from serve.engine.scheduler import Scheduler
from serve.engine.sequence import DecodingRow, Emit, Sequence
from serve.engine.text_stream import TextStream, TokenDecoder


class ContinuousBatching:
    """Continuous batching of one scorer's rows."""

    def __init__(self, scorer: LanguageScorer, tokenizer: PreTrainedTokenizerBase, settings: EngineSettings) -> None:
        """`tokenizer`: a fast one, which text can be streamed from.

        Raises:
            InputError: the tokenizer is not a fast one.
        """
        self.scorer = scorer
        self.settings = settings
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError("serving needs a fast tokenizer (a tokenizer.json); convert the base model's tokenizer")
        self.decoder = TokenDecoder(backend)
        self.ends = end_tokens(tokenizer, scorer.model.get_base_model())
        self.end_ids = on_device(sorted(self.ends), scorer.device, torch.long)
        self.conditioner = Conditioner(scorer)
        self.run = ModelPass(scorer)
        self.vocabulary = int(scorer.head.weight.shape[0])
        self.grammars = Grammars(backend, self.vocabulary, self.ends)
        self.masks = TokenMasks(self.vocabulary)
        self.memory = KvMemory(KvShape.of(scorer), settings.kv_tokens)
        self.prefixes = Prefixes(self.memory, settings.prefix_tokens)
        self.scheduler = Scheduler(self.memory, self.prefixes, settings)
        self.echoes = Echoes(scorer, self._told)
        self.batch: DecodingBatch | None = None
        self.stats = EngineStats(kv_tokens=settings.kv_tokens)
        self._changed = False
        self._counts = dict.fromkeys(("steps", "tokens", "encoded_tokens", "finished", "cancelled", "failed"), 0)

    @torch.inference_mode()
    def sequence(self, request: Generation, emit: Emit) -> Sequence:
        """The rows that a request needs.

        Raises:
            InputError: it could never run: the message names the prompt, max_new_tokens or response_format.
        """
        c = ratio(np.asarray(request.temperature), self.scorer.card.trained_temperature)
        base = self.conditioner.base
        kinds = [base] if c == float("inf") else [self.conditioner.at(request.weights, request.temperature)]
        if c not in (1.0, float("inf")):
            kinds.append(base)
        response = self.scorer.card.scope == "response"
        soft = kinds[0].soft_tokens
        positions, prompt = self.memory.shape.positions, len(request.prompt)
        if prompt + soft > positions:
            raise InputError(
                f"the prompt has {prompt} tokens; this model reads {positions - soft} at most: shorten the prompt"
            )
        # The token after the last position can still be predicted, if not be read.
        room = min(request.max_new_tokens, positions - prompt - soft + 1)
        rows = [
            DecodingRow(
                conditioning=conditioning,
                before=np.array(request.prompt[:-1], dtype=np.int64),
                last_prompt_token=request.prompt[-1],
                prefix_soft=0 if response else conditioning.soft_tokens,
                opening_soft=conditioning.soft_tokens if response else 0,
                prefix_conditioning=base if response else conditioning,
                slot_length=self.memory.shape.slot_class(prompt + conditioning.soft_tokens + room - 1),
            )
            for conditioning in kinds
        ]
        sequence = Sequence(
            request=request,
            emit=emit,
            ratio=c,
            room=room,
            rows=rows,
            # A prompt that is told back may hold what ends the answer.
            text=TextStream(
                self.decoder, () if request.echo else request.sampling.stop, request.sampling.logprobs is not None
            ),
            grammar=self.grammars.grammar(schema) if (schema := request.sampling.json_schema) is not None else None,
            uniforms=uniforms(request.sampling.seed, room if request.sampling.temperature > 0 else 0),
        )
        if not self.scheduler.fits_alone(sequence):
            raise InputError(
                f"a prompt of {prompt} tokens with max_new_tokens {request.max_new_tokens} does not fit into the "
                f"{self.settings.kv_tokens} tokens of memory (kv_tokens): shorten the prompt or lower max_new_tokens"
            )
        return sequence

    def add(self, sequence: Sequence) -> None:
        """Queues a sequence."""
        (self.echoes if sequence.request.echo else self.scheduler).waiting.append(sequence)

    def everyone(self) -> list[Sequence]:
        """All sequences."""
        return [*self.scheduler.everyone(), *self.echoes.waiting]

    @property
    def waiting(self) -> int:
        """Sequences that are not admitted yet."""
        return len(self.scheduler.waiting) + len(self.echoes.waiting)

    @property
    def busy(self) -> bool:
        """Whether there is a sequence to work on."""
        return bool(self.scheduler.running or self.scheduler.preparing or self.waiting)

    @torch.inference_mode()
    def step(self) -> None:
        """Takes in what has come, runs the model once and gives out a token per sequence."""
        began = time.perf_counter()
        for sequence in [s for s in self.everyone() if s.cancelled]:
            self._leave(sequence, "cancelled")
        self._echo()
        self.scheduler.admit()
        making = self.scheduler.begin_prefixes()
        joined = self.scheduler.join()
        self.memory.tidy()
        openings = [self._opening(row) for s in joined for row in s.rows if row.opening_soft]
        room = self.settings.prefill_tokens - sum(len(opening.ids) for opening in openings)
        pieces = self.scheduler.prefill_chunks(making, room)
        if joined or self._changed:
            self.batch = DecodingBatch.of(self.scheduler.running, self.memory, self.vocabulary, self.run.device)
            self._changed = False
        if self.batch is not None or pieces:
            if self.batch is not None:
                self.masks.begin([sequence.grammar for sequence in self.batch.sequences])
            hidden = self.run.over(self.batch, openings + [chunk for _, chunk in pieces])
            self._encoded(pieces)
            if self.batch is not None:
                self._sample(self.batch, self.run.logits(self.batch.mixed(hidden[: len(self.batch.rows)])))
            self._counts["steps"] += 1
        self.stats = self._snapshot(time.perf_counter() - began)

    def _echo(self) -> None:
        """Tells prompts back; their sequences then wait for admission, or want no more."""
        for sequence in self.echoes.step(self.settings.score_tokens):
            if sequence.room:
                self.scheduler.waiting.append(sequence)
            else:
                sequence.finish("length")
                self._counts["finished"] += 1

    def _opening(self, row: DecodingRow) -> PrefillChunk:
        """The last prompt token and the soft tokens after it but the last, which decodes with the other rows."""
        assert row.slot is not None
        assert row.conditioning.soft is not None
        soft = row.conditioning.soft[:-1]
        ids = [row.last_prompt_token] + [0] * len(soft)
        return PrefillChunk(
            row.conditioning, ids, soft, 1, row.prefix_length, row.slot.key_layers(), row.slot.value_layers()
        )

    def _sample(self, batch: DecodingBatch, logits: Tensor) -> None:
        told = [i for i, s in enumerate(batch.sequences) if s.request.sampling.logprobs is not None]
        tops = [batch.sequences[i].request.sampling.logprobs or 0 for i in told]
        told_rows = on_device(told, logits.device, torch.long)
        before = logits[told_rows] if told else logits  # indexing copies, so that banned ends stay in
        # An empty text answers nothing.
        endless = [i for i, s in enumerate(batch.sequences) if not s.tokens or s.request.sampling.ignore_eos]
        if endless and self.ends:
            logits[on_device(endless, logits.device)[:, None], self.end_ids] = float("-inf")
        lost = self.masks.apply(logits)
        draws = [float(s.uniforms[len(s.tokens)]) for s in batch.drawn]
        tokens, sound = choose(logits, batch.settings, draws)
        likely = self._likely(before, tokens[told_rows], tops) if told else ()
        batch.advance(tokens)
        # The one wait of a step: all that the host has to know comes at once.
        chosen, healthy, *found = to_host(tokens, sound, *likely)
        logprobs = dict(zip(told, self._named([chosen[i] for i in told], tops, *found), strict=True)) if told else {}
        for i, (sequence, token) in enumerate(zip(list(batch.sequences), chosen, strict=True)):
            if i in lost:
                sequence.emit(UnusableSchemaError(f"the answer cannot be held to the schema any longer: {lost[i]}"))
                self._leave(sequence, "failed", clean=True)
            elif not healthy[i]:
                sequence.emit(EngineStopped("the model computed no finite probabilities for this request"))
                self._leave(sequence, "failed", clean=True)
            elif token in self.ends:
                sequence.finish("stop")
                self._leave(sequence, "finished")
            else:
                self._counts["tokens"] += 1
                if sequence.add(token, logprobs.get(i)) is not None:
                    self._leave(sequence, "finished")

    def _likely(self, logits: Tensor, chosen: Tensor, top_counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """`log_probabilities` of tokens that came, [S], and of the likeliest in their places, from logits [S, V]."""
        return log_probabilities(logits, chosen, min(max(top_counts), self.vocabulary))

    def _told(self, hidden: Tensor, chosen: Tensor, top_counts: list[int]) -> list[TokenLogprob]:
        """Log-probabilities of the tokens [S] that came after hidden states [S, H]."""
        tokens, *found = to_host(chosen, *self._likely(self.run.logits(hidden), chosen, top_counts))
        return self._named(tokens, top_counts, *found)

    def _named(
        self, chosen: list[int], top_counts: list[int], own: list[float], top: list[list[float]], ids: list[list[int]]
    ) -> list[TokenLogprob]:
        """The tokens with what `_likely` found of each, its alternatives by their bytes."""
        named = self.decoder.bytes_of.named
        return [
            TokenLogprob(
                token, "", b"", own[n], tuple((t, named(t), p) for t, p in zip(ids[n][:k], top[n][:k], strict=True))
            )
            for n, (token, k) in enumerate(zip(chosen, top_counts, strict=True))
        ]

    def _encoded(self, pieces: list[tuple[Prefix, PrefillChunk]]) -> None:
        for prefix, chunk in pieces:
            prefix.encoded += len(chunk.ids)
            self._counts["encoded_tokens"] += len(chunk.ids)

    def _leave(self, sequence: Sequence, why: str, clean: bool = False) -> None:
        if sequence in self.echoes.waiting:
            self.echoes.waiting.remove(sequence)
        else:
            self._changed = self._changed or sequence in self.scheduler.running
            self.scheduler.leave(sequence, clean)
        self._counts[why] += 1

    def _snapshot(self, seconds: float) -> EngineStats:
        return EngineStats(
            running=sum(len(s.rows) for s in self.scheduler.running),
            waiting=self.waiting,
            kv_tokens_used=self.scheduler.used,
            kv_tokens=self.settings.kv_tokens,
            prefix_tokens=self.prefixes.unused,
            step_seconds=seconds,
            cached_tokens=self.scheduler.cached_tokens,
            **self._counts,
        )

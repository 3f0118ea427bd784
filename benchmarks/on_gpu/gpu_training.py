"""Training on a GPU: this trainer against a plain peft + DPO loop, the machine's peak and what --plan says.

Both sides take the same pairs in the same batches of similar length, LoRA of one rank on every linear module, a
bfloat16 base and AdamW. Ours has two objectives, and its reference scores beforehand, as every run has: one pass over
the data for all runs, timed as reference_seconds_per_pair. pairs_vs_plain_with_reference counts that pass as in a
single run of one epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from on_gpu.gpu_part import GpuPart
from on_gpu.model_shapes import (
    OBJECTIVES,
    body_and_head,
    random_base,
    random_pairs,
    scorer_of,
    settings,
    shape,
    step_operations,
)
from on_gpu.plain_dpo import PlainDpo

from cosdpo.data.batching import BatchOrder, PreferenceData
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.preflight.step_memory import step_memory
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock

BATCHES = 8
"""Batches of the data, which further steps meet again."""
LONGEST = 512
DTYPE = torch.bfloat16


@dataclass
class StepPace:
    """What steps of one side took."""

    pairs: float
    """Per second."""
    memory: int
    """Bytes at most."""
    seconds: float
    """Of one step."""


@dataclass
class PairData:
    """The pairs of one shape, and the batches that both sides take."""

    contexts: list[TokenizedContext]
    batch: int

    def batches(self, steps: int, seed: int) -> list[list[TokenizedContext]]:
        """The contexts of every step, as the training loop draws them."""
        order = BatchOrder(np.array([c.tokens for c in self.contexts]), self.batch, seed)
        return [[self.contexts[i] for i in order(step)] for step in range(steps)]


def measure(part: GpuPart, name: str) -> None:
    """All cases of the shape `name`, and their ratios."""
    part.tell_device()
    peak = part.matmul_peak()
    part.tell(f"bfloat16 matrix product: {peak / 1e12:.4g} TFLOP/s", matmul_tflops=peak / 1e12)
    small = part.on_gpu and torch.cuda.get_device_properties(part.device).total_memory < 90e9
    batch = 2 if part.tiny or small else {"1b": 16, "7b": 8}[name]
    longest = 64 if part.tiny else LONGEST
    vocabulary = shape(name, part.tiny).vocab_size
    data = PairData(random_pairs(BATCHES * batch, vocabulary, longest), batch)
    part.tell(f"{batch} pairs a step, prompt and response at most {longest} tokens", pairs_a_step=batch)

    ours: dict[str, StepPace] = {}
    for scope, checkpointing in (("response", False), ("response", True), ("sequence", False)):
        label = f"ours, {scope}{', checkpointing' * checkpointing}"
        pace = part.attempt(label, partial(_ours, part, name, data, label, scope, checkpointing, peak), 8)
        if pace is not None:
            ours[label] = pace
    plain: dict[str, StepPace] = {}
    for checkpointing in (False, True):
        label = f"plain{', checkpointing' * checkpointing}"
        pace = part.attempt(label, partial(_plain, part, name, data, label, checkpointing), 8)
        if pace is not None:
            plain[label] = pace
    _ratios(part, ours, plain)


def _paced(part: GpuPart, data: PairData, run: Callable[[int], None]) -> tuple[int, StepPace]:
    """Runs as many steps as are measured, after three that warm up: how many, and what they took."""

    def take(steps: int) -> float:
        return part.seconds(partial(run, steps), repeats=1, warm=0)

    take(1)
    one = take(2) / 2
    steps = 2 if part.tiny else int(min(16, max(3, min(6.0, part.left / 6) / one)))
    part.reset_memory()
    seconds = take(steps)
    return steps, StepPace(steps * data.batch / seconds, part.memory(), seconds / steps)


def _ours(
    part: GpuPart, name: str, data: PairData, label: str, scope: str, checkpointing: bool, peak: float
) -> StepPace:
    config = settings(scope, training__batch_size=data.batch, model__gradient_checkpointing=checkpointing)
    model = shape(name, part.tiny)
    base = random_base(model, part.device, DTYPE)
    body, head = body_and_head(base)
    scorer = scorer_of(base, config, part.device)
    agreeing: list[list[float] | None] = [[1.0, 0.0], [1.0, 0.0]]
    opposed: list[list[float] | None] = [[1.0, 0.0], [0.0, 1.0]]
    contexts, labels = data.contexts, [opposed, agreeing] * (len(data.contexts) // 2)
    first = contexts[: data.batch]
    reference = part.seconds(lambda: scorer.all_references(first, 10**9), 2) / data.batch
    known = [np.array(row) for row in scorer.all_references(contexts, config.evaluation.batch_tokens)]
    preferences = PreferenceData(contexts, labels, known, config.data)
    optimizer = optimizer_for(scorer, config)

    def run(steps: int) -> None:
        steps_of = config.changed({"training.steps": steps})
        train(scorer, preferences, steps_of, optimizer, Clock(), lambda line: None, lambda clock: None, part.device)

    steps, pace = _paced(part, data, run)
    used = [c for batch in data.batches(steps, config.seed) for c in batch]
    share = step_operations(used, scope, body, head) / (steps * pace.seconds) / peak
    longest = sorted(contexts, key=lambda c: -c.tokens)[: data.batch]
    planned = step_memory(config, model, longest, DTYPE).peak / pace.memory
    part.tell(
        f"{label}: {pace.pairs:.3g} pairs/s, {steps} steps of {pace.seconds:.3g} s, {share:.3f} of the peak, "
        f"{pace.memory / 1e9:.4g} GB, --plan says {planned:.3f} of that",
        **_named(label, pairs_per_second=pace.pairs, mfu=share, gigabytes=pace.memory / 1e9, plan=planned),
    )
    if scope == "response" and not checkpointing:
        part.tell(
            f"{label}: one reference pass takes {reference:.3g} s a pair, once for all runs",
            mfu=share,
            plan_vs_measured=planned,
            reference_seconds_per_pair=reference,
        )
    return pace


def _plain(part: GpuPart, name: str, data: PairData, label: str, checkpointing: bool) -> StepPace:
    model = PlainDpo(random_base(shape(name, part.tiny), part.device, DTYPE, "sdpa"), part.device, checkpointing)

    def run(steps: int) -> None:
        for contexts in data.batches(steps, 0):
            model.step(contexts)

    steps, pace = _paced(part, data, run)
    part.tell(
        f"{label}: {pace.pairs:.3g} pairs/s, {steps} steps of {pace.seconds:.3g} s, {pace.memory / 1e9:.4g} GB",
        **_named(label, pairs_per_second=pace.pairs, gigabytes=pace.memory / 1e9),
    )
    return pace


def _named(label: str, **figures: float) -> dict[str, float]:
    return {f"{label}: {key}": value for key, value in figures.items()}


def _ratios(part: GpuPart, ours: dict[str, StepPace], plain: dict[str, StepPace]) -> None:
    if not ours or not plain:
        part.tell("no ratios: one of the sides is missing")
        return
    own, other = max(ours.values(), key=lambda p: p.pairs), max(plain.values(), key=lambda p: p.pairs)
    reference = part.figures.get("reference_seconds_per_pair", 0.0)
    ratio = own.pairs / other.pairs
    one_epoch = 1 / (1 / own.pairs + float(reference)) / other.pairs
    part.tell(
        f"against the plain loop: {ratio:.3g} of its pairs/s ({one_epoch:.3g} with a reference pass per epoch), "
        f"{len(OBJECTIVES) * ratio:.3g} of its labels/s, {own.memory / other.memory:.3g} of its memory",
        pairs_vs_plain=ratio,
        pairs_vs_plain_with_reference=one_epoch,
        labels_vs_plain=len(OBJECTIVES) * ratio,
        memory_vs_plain=own.memory / other.memory,
    )

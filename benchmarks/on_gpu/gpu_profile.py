"""Where the time of one training step and of one decoding step goes, as text.

Operations are told apart by their names and by the shapes that they read: a matrix of as many columns as the adapters
have ranks is theirs, one as wide as the vocabulary belongs to the log-probabilities or the sampling.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from on_gpu.gpu_part import GpuPart
from on_gpu.model_shapes import RANK, random_base, random_pairs, scorer_of, settings, shape, words
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from cosdpo.data.batching import PreferenceData
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock
from serve.engine import EngineSettings
from serve.engine.continuous_batching import ContinuousBatching
from serve.engine.requests import Generation, SamplingParams

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "mkldnn", "onednn")
ATTENTION = ("attention", "_softmax", "flash", "cudnn_sdpa")
OPTIMISER = ("_foreach", "_fused_adam", "linalg_vector_norm")


def kind_of(name: str, shapes: list[list[int]], vocabulary: int) -> str:
    """What an operation belongs to.

    Args:
        shapes: of the tensors that it reads.
    """
    matrices = [dims for dims in shapes if len(dims) > 1]
    if any(part in name for part in ATTENTION):
        return "attention"
    if any(part in name for part in OPTIMISER):
        return "optimiser"
    if any(RANK in dims[-2:] for dims in matrices):
        return "adapters and gates"
    if any(name.startswith(part) or (part[0] != "a" and part in name) for part in PRODUCTS):
        return "head" if any(vocabulary in dims for dims in matrices) else "products"
    if any(vocabulary in dims for dims in matrices):
        return "probabilities and sampling"
    return "norms, activations, copies"


def profiled(part: GpuPart, label: str, run: Callable[[], object], vocabulary: int) -> None:
    """Profiles one `run` after two that warm up, and tells what it did."""
    run()
    run()
    part.wait()
    began = time.perf_counter()
    run()
    part.wait()
    plain = time.perf_counter() - began
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if part.on_gpu else [])]
    with profile(activities=activities, record_shapes=True) as found:
        run()
        part.wait()
    spent: Counter[str] = Counter()
    launched = 0
    for event in found.events():
        if event.device_type != DeviceType.CPU:
            continue
        own = event.self_device_time_total if part.on_gpu else event.self_cpu_time_total
        launched += len(event.kernels)
        spent[kind_of(event.name, [list(s) for s in event.input_shapes or [] if s], vocabulary)] += own * 1e-6
    busy = sum(spent.values())
    lines = {kind: seconds / plain for kind, seconds in spent.most_common()}
    lines["gaps" if part.on_gpu else "Python"] = max(0.0, 1 - busy / plain)
    part.tell(
        f"{label}: {1e3 * plain:.4g} ms, {launched} kernels, busy {busy / plain:.3f}", **{f"{label} ms": 1e3 * plain}
    )
    for kind, share in lines.items():
        part.tell(f"{label}:   {share:6.3f} {kind}", **{f"{label}: {kind}": share})
    by = "self_device_time_total" if part.on_gpu else "self_cpu_time_total"
    rows = sorted(found.key_averages(), key=lambda row: -getattr(row, by))
    for row in rows[: 4 if part.tiny else 12]:
        part.tell(f"{label}:   {getattr(row, by) / 1e3:9.3f} ms {row.count:6d} x {row.key[:70]}")


def measure(part: GpuPart, name: str) -> None:
    """A training step and a decoding step of the shape `name`."""
    part.tell_device()
    part.attempt("training step", lambda: _training_step(part, name))
    part.attempt("decoding step", lambda: _decoding_step(part, name), 5)


def _scorer(part: GpuPart, name: str) -> LanguageScorer:
    base = random_base(shape(name, part.tiny), part.device, torch.bfloat16)
    return scorer_of(base, settings(), part.device, noise=0.01)


def _training_step(part: GpuPart, name: str) -> None:
    scorer, count = _scorer(part, name), 2 if part.tiny else 8
    vocabulary = scorer.head.weight.shape[0]
    contexts = random_pairs(count, vocabulary, 64 if part.tiny else 512)
    config = settings(training__batch_size=count, training__steps=1)
    labels: list[list[list[float] | None]] = [[[1.0, 0.0], [0.0, 1.0]]] * count
    data = PreferenceData(contexts, labels, [np.zeros(2)] * count, config.data)
    optimizer = optimizer_for(scorer, config)
    arguments: Any = (lambda line: None, lambda clock: None, part.device)
    profiled(part, "training step", lambda: train(scorer, data, config, optimizer, Clock(), *arguments), vocabulary)


def _decoding_step(part: GpuPart, name: str) -> None:
    scorer, rows = _scorer(part, name).eval(), 4 if part.tiny else 32
    vocabulary = scorer.head.weight.shape[0]
    batching = ContinuousBatching(
        scorer, words(vocabulary), EngineSettings(max_running=2 * rows, kv_tokens=512 * rows, prefill_tokens=2048)
    )
    rng = np.random.default_rng(0)
    for i in range(rows):
        request = Generation(
            prompt=tuple(rng.integers(1, vocabulary - 1, 16 if part.tiny else 100).tolist()),
            weights=(i / rows, 1 - i / rows),
            temperature=tuple(scorer.card.trained_temperature),
            max_new_tokens=100,
            sampling=SamplingParams(seed=i, ignore_eos=True),
        )
        batching.add(batching.sequence(request, lambda item: None))
    while batching.stats.running < rows:
        batching.step()
    profiled(part, f"decoding step of {rows} rows", batching.step, vocabulary)

"""Whether the GPU computes what the CPU does: losses, gradients, training and greedy text of tiny models.

Miniatures of real architectures (cosdpo/models/check.py): grouped queries, sliding windows in all or every other layer,
attention sinks with experts, GPT-2. In float32 the two have to agree to 1e-4; of bfloat16 and 4 bits the distance is
told, beside that of the CPU's own bfloat16 from its float32.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from on_gpu.gpu_part import GpuPart
from on_gpu.model_shapes import scorer_of, settings, words
from torch import Tensor
from transformers import CONFIG_MAPPING

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.base import load_base
from cosdpo.models.check import contexts_of, miniature
from cosdpo.models.generation import generate
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.objective import Objective
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock
from serve.engine import Engine, EngineSettings
from serve.engine.requests import Generation, SamplingParams

TOLERANCE = 1e-4
KINDS = ("llama", "mistral", "gemma3_text", "gpt2", "gpt_oss")
EVERY = [(scope, kind) for scope in ("response", "sequence") for kind in ("gated_lora", "hyper_prompt", "both")]
CPU = torch.device("cpu")


@dataclass
class Outcome:
    """What one device made of one model."""

    losses: Tensor
    """[B, m], then the losses of two training steps."""
    gradient: Tensor
    """Of everything trained, [n]."""
    texts: list[str]
    """Greedy, of the engine at several trade-offs and temperatures."""
    tokens: list[list[int]]
    """Greedy, of cosdpo.models.generation."""


def measure(part: GpuPart, name: str) -> None:
    """All models; `name` is of no account."""
    part.tell_device()
    worst: dict[str, float] = {}
    count = failed = 0
    for kind in KINDS[:: 2 if part.tiny else 1]:
        combinations = EVERY if kind == "llama" else [("response", "gated_lora"), ("sequence", "both")]
        for scope, conditioning in combinations[:: 5 if part.tiny else 1]:
            label = f"{kind}, {scope}, {conditioning}"
            count += 1
            config = settings(scope, conditioning, seed=3)
            failed += not part.attempt(label, partial(_compared, part, kind, label, config, worst), 3)
    figures = {f"float32: {key}": value for key, value in worst.items()}
    part.tell(
        f"float32: {count - failed} of {count} models agree to {TOLERANCE:g}: losses {worst.get('losses', -1):.2g}, "
        f"gradients {worst.get('gradient', -1):.2g} at most",
        correct=not failed,
        **figures,
    )
    for scope, conditioning in EVERY[:: 6 if part.tiny else 4]:
        config = settings(scope, conditioning, seed=3)
        part.attempt(f"bfloat16, {scope}, {conditioning}", partial(_bfloat16, part, config), 3)
    if part.on_gpu and find_spec("bitsandbytes"):
        part.attempt("nf4", lambda: _nf4(part), 5)
    else:
        part.tell("nf4: not checked, which takes a GPU and bitsandbytes")


def built(kind: str, config: Config, device: torch.device, dtype: torch.dtype = torch.float32) -> LanguageScorer:
    """The miniature of `kind` and its adapters, the same numbers on every device."""
    base = miniature(CONFIG_MAPPING[kind]())
    for parameter in base.parameters():
        parameter.data = parameter.data.to(dtype)
    return scorer_of(base, config, device, noise=0.05)


def outcome(scorer: LanguageScorer, config: Config, device: torch.device) -> Outcome:
    """Losses and gradients of a batch, the losses of two steps, and greedy text."""
    vocabulary = scorer.head.weight.shape[0]
    contexts = [*contexts_of(vocabulary, 24), *contexts_of(vocabulary, 17)]
    rng = np.random.default_rng(0)
    labels: list[list[list[float] | None]] = [rng.random((2, len(c.candidates))).tolist() for c in contexts]
    data = PreferenceData(contexts, labels, None, config.data)
    data.reference = [np.array(row) for row in scorer.all_references(contexts, 4096)]
    config = config.changed({"training.batch_size": 4, "training.steps": 2, "training.log_every": 1})
    objective, optimizer = Objective(data, config), optimizer_for(scorer, config)
    batch = data.batch(range(4)).to(device)
    weights = torch.tensor([[0.0, 1.0], [0.3, 0.7], [0.5, 0.5], [1.0, 0.0]]).to(device)
    beta = torch.tensor([config.temperatures] * 4).to(device)
    minimised = objective.minimised(Strategy(scorer, optimizer), batch, weights, beta)
    rewards = (scorer(batch.contexts, weights, beta) - batch.reference) * batch.mask
    losses = objective.losses(rewards, batch, beta)
    minimised(rewards, losses).sum().backward()
    gradient = torch.cat([p.grad.flatten().float().cpu() for p in scorer.trainable().values() if p.grad is not None])
    optimizer.zero_grad(set_to_none=True)
    tokens, texts = _greedy(scorer, contexts, weights)
    lines: list[float] = []
    train(scorer, data, config, optimizer, Clock(), lambda line: lines.append(line["loss"]), lambda clock: None, device)
    return Outcome(torch.cat([losses.detach().flatten().float().cpu(), torch.tensor(lines)]), gradient, texts, tokens)


def _greedy(
    scorer: LanguageScorer, contexts: list[TokenizedContext], weights: Tensor
) -> tuple[list[list[int]], list[str]]:
    """Of `generate`, and of the engine at once and twice the trained temperature."""
    scorer.eval()
    prompts = [c.prompt for c in contexts]
    with torch.no_grad():
        tokens = generate(scorer, prompts, weights, None, 8, 0.0)
    engine = Engine(scorer, words(scorer.head.weight.shape[0]), EngineSettings(prefill_tokens=8))
    engine.start()

    async def answer(request: Generation) -> str:
        return "".join([chunk.text async for chunk in engine.submit(request)])

    async def everyone() -> list[str]:
        wanted = [
            Generation(
                prompt=tuple(prompt),
                weights=tuple(w),
                temperature=tuple(c * t for t in scorer.card.trained_temperature),
                max_new_tokens=8,
                sampling=SamplingParams(temperature=0.0),
            )
            for prompt, w in zip(prompts, weights.tolist(), strict=True)
            for c in (1, 2)
        ]
        return await asyncio.gather(*map(answer, wanted))

    texts = asyncio.run(everyone())
    engine.stop()
    return tokens, texts


def distance(found: Tensor, right: Tensor) -> float:
    """Length of the difference over that of what is right; infinite where it is no number."""
    apart = float((found - right).norm() / right.norm().clamp_min(1e-30))
    return apart if apart == apart else float("inf")


def alike(found: list[Any], right: list[Any]) -> float:
    """Share of the answers that are the same."""
    return sum(a == b for a, b in zip(found, right, strict=True)) / len(right)


def _compared(part: GpuPart, kind: str, label: str, config: Config, worst: dict[str, float]) -> bool:
    """Whether the device agrees with the CPU in float32."""
    right = outcome(built(kind, config, CPU), config, CPU)
    found = outcome(built(kind, config, part.device), config, part.device)
    apart = {"losses": distance(found.losses, right.losses), "gradient": distance(found.gradient, right.gradient)}
    same = min(alike(found.texts, right.texts), alike(found.tokens, right.tokens))
    for key, value in apart.items():
        worst[key] = max(worst.get(key, 0.0), value)
    agreed = max(apart.values()) <= TOLERANCE and same == 1
    part.tell(
        f"{label}: losses {apart['losses']:.2g}, gradient {apart['gradient']:.2g}, {same:.0%} of the greedy texts"
        + ("" if agreed else "   DIFFERENT")
    )
    return agreed


def _bfloat16(part: GpuPart, config: Config) -> None:
    right = outcome(built("llama", config, CPU), config, CPU)
    half = outcome(built("llama", config, CPU, torch.bfloat16), config, CPU)
    found = outcome(built("llama", config, part.device, torch.bfloat16), config, part.device)
    label = f"bfloat16, {config.scope}, {config.conditioning}"
    apart = {
        "losses": distance(found.losses, right.losses),
        "gradient": distance(found.gradient, right.gradient),
        "losses of the CPU": distance(half.losses, right.losses),
        "gradient of the CPU": distance(half.gradient, right.gradient),
    }
    listed = ", ".join(f"{key} {value:.2g}" for key, value in apart.items())
    part.tell(
        f"{label}: from float32 {listed}; {alike(found.texts, half.texts):.0%} of the texts as the CPU's bfloat16",
        **{f"{label}: {key}": value for key, value in apart.items()},
    )


def _nf4(part: GpuPart) -> None:
    """A base in 4 bits scores near the bfloat16 one, and its adapters get gradients."""
    config = settings("response", "both", seed=3)
    with tempfile.TemporaryDirectory() as folder:
        miniature(CONFIG_MAPPING["llama"]()).save_pretrained(folder)
        bases = {kind: load_base(folder, torch.bfloat16, kind) for kind in ("none", "nf4")}
    found = {
        kind: outcome(scorer_of(base, config, part.device, noise=0.05), config, part.device)
        for kind, base in bases.items()
    }
    apart = distance(found["nf4"].losses, found["none"].losses)
    sound = bool(found["nf4"].gradient.isfinite().all())
    part.tell(
        f"nf4: losses {apart:.2g} from bfloat16's, gradients {'finite' if sound else 'NOT FINITE'}",
        nf4_losses=apart,
        nf4_sound=sound,
    )

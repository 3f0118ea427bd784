"""The engine's speed: mixed trade-offs against one, and against generate, static batches and the bare model.

    python benchmarks/serving.py [--shape gpt2 | --checkpoint DIR] [--clients 32] [--tokens 96] [--repeats 3]

By default a GPT-2 of 124M random weights with random gated adapters of rank 8 (scope response); with --checkpoint a
trained model. Prompts are random tokens. All runs in this process, on --threads 1, the sides in turn; medians:

- mixed_vs_same_weights: tokens/s of as many clients as there are trade-offs, against the same clients all at one.
- vs_generate: against transformers' generate of the plain base (no adapters at all), one request at a time.
- vs_static_batches: requests of mixed lengths against batches of 8 in arrival order, each as long as its longest, by
  cosdpo.models.generation or by transformers' generate of the plain base, whichever is faster.
- vs_bare_forward: against the plain base's forward pass alone (body and head, keys and values cached, no sampling) with
  as many rows of the same lengths, by transformers' dynamic or static cache, whichever is faster.
- structured_vs_free: all answers following a JSON schema, against the same requests free, as many tokens each; with the
  checkpoint's tokenizer, or a byte-level one of as many tokens.

Prints a table; ends with one JSON line of ratios.
"""

import argparse
import asyncio
import itertools
import json
import os
import string
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from other_servers import Prompt, bare_forward, one_at_a_time, plain_base, static_by_generate, static_by_ours
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cosdpo.config import Config
from cosdpo.models.base import freeze, load_tokenizer
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.packing import ATTENTION
from serve.engine import Engine, EngineSettings
from serve.engine.requests import Generation, SamplingParams

ROWS = {"id": {"type": "integer"}, "text": {"type": "string"}, "kind": {"enum": ["first", "second"]}}
LONG_LIST = json.dumps(
    {"type": "array", "minItems": 1000, "items": {"type": "object", "properties": ROWS, "required": [*ROWS]}}
)
"""A schema whose answers are as long as they may."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Run = Callable[[], int]
"""Answers all requests; returns how many tokens it made."""


def clock() -> float:
    """Seconds of the clock that --clock names."""
    return CLOCKS[arguments.clock]()


def random_gpt2() -> tuple[LanguageScorer, PreTrainedTokenizerBase]:
    """A scorer of GPT-2's shape, its adapters away from their start, and a tokenizer with as many words."""
    torch.manual_seed(0)
    shape = GPT2Config(activation_function="gelu_pytorch_tanh")
    base = freeze(AutoModelForCausalLM.from_config(shape, attn_implementation=ATTENTION))
    config = Config.model_validate(
        {
            "objectives": ["first", "second"],
            "conditioning": "gated_lora",
            "scope": "response",
            "model": {"base": "gpt2", "lora_rank": 8},
        }
    )
    scorer = LanguageScorer.create(config, base)
    with torch.no_grad():
        for parameter in scorer.trainable().values():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(shape.vocab_size)}, unk_token="w0"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    return scorer.eval(), PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w50256")


def byte_level(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of all bytes, many words of four letters, and an end token, the last."""
    letters = [*pre_tokenizers.ByteLevel.alphabet()]
    words = ["".join(word) for word in itertools.islice(itertools.product(string.ascii_lowercase, repeat=4), 2**16)]
    entries = [*letters, *words[: vocabulary - 257], "<end>"]
    tokenizer = Tokenizer(models.BPE({entry: i for i, entry in enumerate(entries)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def followed(wanted: Sequence[Generation], schema: str | None) -> list[Generation]:
    """The requests with a schema, or without one and without an end of their own."""
    how = {"json_schema": schema, "ignore_eos": schema is None}
    return [replace(request, sampling=replace(request.sampling, **how)) for request in wanted]


def requests(prompts: Sequence[Prompt], weights: Sequence[float], lengths: Sequence[int], card) -> list[Generation]:
    """Sampled requests at the trained temperature."""
    m = len(card.objectives)
    return [
        Generation(
            prompt=prompt,
            weights=(w, *[(1 - w) / (m - 1)] * (m - 1)),
            temperature=tuple(card.trained_temperature),
            max_new_tokens=length,
            sampling=SamplingParams(seed=i),
        )
        for i, (prompt, w, length) in enumerate(zip(prompts, weights, lengths, strict=True))
    ]


def serve(engine: Engine, wanted: Sequence[Generation]) -> Run:
    """All requests at once, from as many asyncio tasks."""

    async def answer(request: Generation) -> int:
        async for chunk in engine.submit(request):
            last = chunk
        return last.usage.completion_tokens

    async def everyone() -> int:
        return sum(await asyncio.gather(*map(answer, wanted)))

    return lambda: asyncio.run(everyone())


def rates(sides: dict[str, Run], repeats: int) -> dict[str, float]:
    """Median tokens/s of each side, run in turn, after one run that warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, run in sides.items():
            began = clock()
            tokens = run()
            if repeat:
                speeds[name].append(tokens / (clock() - began))
    for name, values in speeds.items():
        print(f"{name:44s} {median(values):9.1f} tokens/s   ({min(values):.1f} to {max(values):.1f})", flush=True)
    return {name: median(values) for name, values in speeds.items()}


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=["gpt2", "checkpoint"], default="gpt2")
    parser.add_argument("--checkpoint", type=Path, help="a trained language checkpoint; implies --shape checkpoint")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=96, help="new tokens per request")
    parser.add_argument("--prompt", type=int, default=32, help="tokens per prompt")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="one ratio's name")
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu: seconds of this process, where others use the machine",
    )
    arguments = parser.parse_args()
    if arguments.shape == "checkpoint" and arguments.checkpoint is None:
        parser.error("--shape checkpoint needs --checkpoint DIR")
    return arguments


def main() -> None:
    """All comparisons."""
    torch.set_num_threads(arguments.threads)
    if arguments.checkpoint is not None:
        scorer = LanguageScorer.load(arguments.checkpoint)
        tokenizer = load_tokenizer(scorer.card.base)
    else:
        scorer, tokenizer = random_gpt2()
    base = plain_base(scorer)
    vocabulary, n, tokens = scorer.head.weight.shape[0], arguments.clients, arguments.tokens
    random = np.random.default_rng(0)

    def prompt(length: int) -> Prompt:
        return tuple(random.integers(3, vocabulary - 1, length).tolist())

    prompts = [prompt(arguments.prompt) for _ in range(n)]
    spread = np.linspace(0, 1, n)
    mixed_prompts = [prompt(int(length)) for length in random.integers(8, 2 * arguments.prompt, n)]
    mixed_lengths = random.integers(tokens // 6, 2 * tokens, n).tolist()
    weights = torch.tensor([[w, 1 - w] for w in spread], dtype=torch.float32)

    def engine(words: PreTrainedTokenizerBase = tokenizer, **changes: int) -> Engine:
        # No prompts are kept from run to run: every run encodes its own.
        limits = {"max_running": 2 * n, "kv_tokens": 512 * n, "prefix_tokens": 0, "threads": arguments.threads}
        made = Engine(scorer, words, EngineSettings(**(limits | changes)))
        made.start()
        return made

    running = engine()
    same = serve(running, requests(prompts, [0.5] * n, [tokens] * n, scorer.card))
    mixed = serve(running, requests(prompts, spread, [tokens] * n, scorer.card))
    lengths = serve(running, requests(mixed_prompts, spread, mixed_lengths, scorer.card))
    ratios: dict[str, float] = {}

    def wanted(name: str) -> bool:
        return arguments.only in ("", name)

    if wanted("mixed_vs_same_weights"):
        speed = rates({"engine, one trade-off": same, "engine, mixed trade-offs": mixed}, arguments.repeats)
        ratios["mixed_vs_same_weights"] = speed["engine, mixed trade-offs"] / speed["engine, one trade-off"]
    if wanted("vs_bare_forward"):
        speed = rates(
            {
                "engine": mixed,
                "bare forward, dynamic cache": lambda: bare_forward(base, prompts, tokens, static=False),
                "bare forward, static cache": lambda: bare_forward(base, prompts, tokens, static=True),
            },
            arguments.repeats,
        )
        ratios["vs_bare_forward"] = speed.pop("engine") / max(speed.values())
    if wanted("vs_generate"):
        few = prompts[: max(2, n // 8)]
        speed = rates(
            {"engine": mixed, "generate, one at a time": lambda: one_at_a_time(base, few, tokens)}, arguments.repeats
        )
        ratios["vs_generate"] = speed["engine"] / speed["generate, one at a time"]
    if wanted("vs_static_batches"):
        few_rows = engine(max_running=8)
        eight = serve(few_rows, requests(mixed_prompts, spread, mixed_lengths, scorer.card))
        speed = rates(
            {
                "engine, mixed lengths": lengths,
                "engine of 8 rows, mixed lengths": eight,
                "static batches, cosdpo.models.generation": lambda: static_by_ours(
                    scorer, mixed_prompts, mixed_lengths, weights
                ),
                "static batches, generate of the base": lambda: static_by_generate(base, mixed_prompts, mixed_lengths),
            },
            arguments.repeats,
        )
        static = max(rate for name, rate in speed.items() if name.startswith("static"))
        ratios["vs_static_batches"] = speed["engine, mixed lengths"] / static
        ratios["vs_static_batches_same_rows"] = speed["engine of 8 rows, mixed lengths"] / static
        few_rows.stop()
    if wanted("structured_vs_free"):
        speller = engine(tokenizer if arguments.checkpoint is not None else byte_level(vocabulary))
        plain = requests(prompts, spread, [tokens] * n, scorer.card)
        free, held = (serve(speller, followed(plain, schema)) for schema in (None, LONG_LIST))
        speed = rates({"engine, free": free, "engine, all of a JSON schema": held}, arguments.repeats)
        ratios["structured_vs_free"] = speed["engine, all of a JSON schema"] / speed["engine, free"]
        speller.stop()
    running.stop()
    print(json.dumps({name: round(ratio, 3) for name, ratio in ratios.items()}))


if __name__ == "__main__":
    arguments = read_arguments()
    main()

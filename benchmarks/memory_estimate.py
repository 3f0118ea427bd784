"""Estimated against measured memory of a training step, for three shapes, with and without gradient checkpointing.

    python benchmarks/memory_estimate.py

The estimate (cosdpo/preflight/step_memory.py) allocates nothing. The measurement trains for real, each case in a
process of its own, and reads the growth of its largest resident set since the imports. glibc is told to return what is
freed: by default its heap is fragmented by tensors of many sizes and holds up to twice of what lives. Ends with one
JSON line: {"estimate_vs_measured": {case: ratio}, "worst": largest distance of a ratio from 1}.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedConfig

from cosdpo.config import Config
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.base import freeze
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.packing import ATTENTION
from cosdpo.preflight.step_memory import step_memory
from cosdpo.training.loop import optimizer_for


@dataclass(frozen=True)
class MemoryCase:
    model: PreTrainedConfig
    contexts: int
    prompt: int
    response: int
    candidates: int

    def batch(self) -> list[TokenizedContext]:
        context = TokenizedContext(prompt=[1] * self.prompt, candidates=[[1] * self.response] * self.candidates)
        return [context] * self.contexts


def llama(width: int, inner: int, layers: int, heads: int, groups: int, vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        vocab_size=vocabulary,
    )


CASES = {
    "gpt2-124m": MemoryCase(GPT2Config(), 8, 64, 64, 2),
    "llama-wide": MemoryCase(llama(1024, 2816, 12, 16, 4, 32_000), 4, 128, 128, 2),
    "llama-deep": MemoryCase(llama(512, 2048, 24, 8, 8, 8_000), 8, 100, 60, 4),
}


def settings(checkpointing: bool) -> Config:
    model = {"base": "unused", "gradient_checkpointing": checkpointing}
    return Config.model_validate({"objectives": ["first", "second"], "model": model})


def measure(name: str, checkpointing: bool) -> int:
    """Bytes by which a process grows at most while it builds the model and takes two steps."""
    case, config = CASES[name], settings(checkpointing)
    torch.set_num_threads(1)
    before = resident()
    case.model._attn_implementation = ATTENTION
    base = freeze(AutoModelForCausalLM.from_config(case.model))
    scorer = LanguageScorer.create(config, base)
    optimizer, weights = optimizer_for(scorer, config), torch.rand(case.contexts, 2)
    scorer.train()
    for _ in range(2):
        scorer(case.batch(), weights, weights).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "CHECKPOINTING"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(arguments.measure[0], arguments.measure[1] == "True"))
        return
    tight = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    ratios = {}
    for name, case in CASES.items():
        for checkpointing in (False, True):
            label = name + (", checkpointing" if checkpointing else "")
            command = [sys.executable, __file__, "--measure", name, str(checkpointing)]
            done = subprocess.run(command, env=os.environ | tight, capture_output=True, text=True, check=True)
            measured = int(done.stdout.split()[-1])
            estimated = step_memory(settings(checkpointing), case.model, case.batch(), torch.float32).peak
            ratios[label] = round(estimated / measured, 3)
            print(f"{label:28} estimated {estimated / 1e9:.2f} GB, measured {measured / 1e9:.2f} GB", flush=True)
    worst = max(abs(ratio - 1) for ratio in ratios.values())
    print(json.dumps({"estimate_vs_measured": ratios, "worst": round(worst, 3)}))


if __name__ == "__main__":
    main()

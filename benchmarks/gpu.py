"""Everything that wants a GPU, measured on one of them within eight minutes.

    python benchmarks/gpu.py [--only training-1b,serving-1b] [--minutes 8]
    python benchmarks/gpu.py --device cpu --tiny         the same on tiny shapes: whether all of it runs

Needs torch (2.11 or newer), transformers (5.17 or newer), peft, pydantic and safetensors, no network and no files:
models are shapes with random weights. deploy/gpu-check.md says what to carry to a bare machine.

    correctness                losses, gradients and greedy text on the GPU against the CPU's: float32, bfloat16, nf4
    training-1b, training-7b   this trainer and a plain peft + DPO loop: pairs/s, share of the peak, memory, --plan's
    serving-1b, serving-7b     the engine: tokens/s, share of the memory's bandwidth and of the bare model, first token
    profile                    where the time of a training step and of a decoding step goes

Each part runs in a process of its own, within a budget of seconds, and prints each line as it is measured; what fails
or runs out of its time prints one line and does not end the others. Peaks (a matrix product, a copy of memory) are
measured in the same process, right before. Ends with one JSON line, {PART: {figure: value}, "goals": {figure: [goal,
best or worst found, whether met]}}; the figures' names are those of the printed lines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as it is carried: nothing is installed

BUDGETS = {
    "correctness": 75,
    "training-1b": 70,
    "training-7b": 105,
    "serving-1b": 75,
    "serving-7b": 105,
    "profile": 50,
}
"""Seconds of each part, in the order they run; what one leaves the next ones may use."""
GOALS = {
    "pairs_vs_plain": (1.5, max),
    "labels_vs_plain": (3.0, max),
    "memory_vs_plain": (0.6, min),
    "mfu": (0.45, max),
    "plan_vs_measured": (0.15, min),
    "mixed_vs_same_weights": (0.95, max),
    "vs_bare_forward": (0.85, max),
}
"""What is wanted of every part that has the figure: at least (max) or at most (min) so much; of plan_vs_measured, the
distance from 1."""


def measure(name: str, arguments: argparse.Namespace) -> None:
    """One part, in this process."""
    import torch
    from on_gpu import gpu_correctness, gpu_profile, gpu_serving, gpu_training
    from on_gpu.gpu_part import GpuPart

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device, 0) if arguments.device == "cuda" else torch.device(arguments.device)
    part = GpuPart(name, device, arguments.tiny, time.monotonic() + arguments.seconds, arguments.figures)
    kind, _, shape = name.partition("-")
    kinds: dict[str, Any] = {
        "correctness": gpu_correctness,
        "training": gpu_training,
        "serving": gpu_serving,
        "profile": gpu_profile,
    }
    kinds[kind].measure(part, shape or "1b")


def run(name: str, seconds: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """One part in a process of its own; the figures that it found before its end."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.jsonl"
        own = ["--part", name, "--seconds", f"{seconds - 5:.0f}", "--figures", str(figures)]
        shared = ["--device", arguments.device, "--threads", str(arguments.threads)]
        command = [sys.executable, "-u", __file__, *own, *shared, *(["--tiny"] if arguments.tiny else [])]
        try:
            code = subprocess.run(command, timeout=seconds, check=False).returncode
            if code:
                print(f"{name}: ended with {code}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{name}: out of its {seconds:.0f} s", flush=True)
        lines = figures.read_text().splitlines() if figures.exists() else []
    return {key: value for line in lines for key, value in json.loads(line).items()}


def judged(found: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Of every goal: the goal, the worst figure of all parts that have it, and whether that meets it."""
    goals: dict[str, list[Any]] = {}
    for figure, (goal, better) in GOALS.items():
        values = [part[figure] for part in found.values() if figure in part]
        if figure == "plan_vs_measured":
            values = [abs(value - 1) for value in values]
        if values:
            worst = min(values) if better is max else max(values)
            goals[figure] = [goal, round(worst, 3), worst >= goal if better is max else worst <= goal]
    return goals


def main(arguments: argparse.Namespace) -> None:
    """All parts, one after the other."""
    wanted = [name for name in arguments.only.split(",") if name] or [*BUDGETS]
    if unknown := set(wanted) - BUDGETS.keys():
        sys.exit(f"error: --only names {sorted(unknown)[0]}; the parts are {', '.join(BUDGETS)}")
    ends = time.monotonic() + 60 * arguments.minutes
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(wanted):
        # A later part keeps its budget as far as the earlier ones kept theirs.
        later = sum(BUDGETS[other] for other in wanted[number + 1 :])
        left = ends - time.monotonic()
        seconds = min(left, max(BUDGETS[name], left - later))
        if seconds < 10:
            print(f"{name}: no time left", flush=True)
            continue
        began = time.monotonic()
        found[name] = run(name, seconds, arguments)
        found[name]["seconds"] = round(time.monotonic() - began, 1)
    goals = {} if arguments.tiny else judged(found)
    for figure, (goal, worst, met) in goals.items():
        print(f"goal {figure:24s} {goal:<6g} found {worst:<8g} {'met' if met else 'missed'}")
    print(json.dumps({**found, "goals": goals}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts, with commas between them; all by default")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves torch's own choice")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--figures", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        measure(options.part, options)
    else:
        main(options)

"""Conditioning kinds and scopes against each other on one task: hypervolume, ends and time over seeds.

    python benchmarks/conditioning_kinds.py --config jobs/configs/stories.yaml --model.base FOLDER \
        --data.train train.jsonl --data.validation validation.jsonl --output runs/conditioning

Every combination of hyper_prompt, gated_lora and both with scope sequence and response is trained with seeds 0 to 2
(--seeds N; --only gated_lora/sequence restricts the combinations) in this process (no Ray), on one shared set of
reference scores. Prints a table; ends with one JSON line of hypervolumes.
"""

import argparse
import itertools
import json
from statistics import mean, pstdev, stdev

import numpy as np
import torch
from law.law_of_language import referenced

from cosdpo.cli.command_line import read_config
from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.evaluation.indicators import controllability, hypervolume
from cosdpo.evaluation.profile import profile
from cosdpo.experiment.job_checks import located
from cosdpo.models.base import load_base
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.simplex import das_dennis
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock


def run(config: Config, data: list[PreferenceData]) -> dict[str, float]:
    """One training and its front's figures."""
    torch.manual_seed(config.seed)
    scorer = LanguageScorer.create(config, load_base(config.model.base, torch.float32))
    clock = train(scorer, data[0], config, optimizer_for(scorer, config), Clock(), lambda line: None, lambda now: None)
    scorer.eval()
    grid = das_dennis(len(config.objectives), config.partitions)
    profiles = [profile(scorer, data[1], w, config.temperatures, config.evaluation.batch_tokens) for w in grid]
    accuracy = np.stack([p.accuracy for p in profiles])
    row = {
        "hypervolume": hypervolume(accuracy, np.full(grid.shape[1], 0.5)),
        "controllability": float(controllability(grid, accuracy).min()),
        "seconds": clock.seconds,
        "parameters": scorer.trained_parameters(),
    }
    for j, name in enumerate(config.objectives):
        end = int(grid[:, j].argmax())
        row |= {f"{name} accuracy": profiles[end].accuracy[j], f"{name} loss": profiles[end].loss[j]}
    middle = int(np.abs(grid - 1 / grid.shape[1]).sum(1).argmin())
    row |= {f"middle {name}": accuracy[middle, j] for j, name in enumerate(config.objectives)}
    return row


def main() -> None:
    """All combinations and seeds."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--only", default="", help="one combination, such as gated_lora/sequence")
    own.add_argument("--seeds", type=int, default=3)
    chosen, rest = own.parse_known_args()
    config = located(read_config(rest, __doc__))
    torch.set_num_threads(max(1, int(config.scaling.cpus_per_worker)))
    table = {}
    data = referenced(config)
    for kind, scope in itertools.product(("hyper_prompt", "gated_lora", "both"), ("sequence", "response")):
        if chosen.only not in ("", f"{kind}/{scope}"):
            continue
        rows = []
        for seed in range(chosen.seeds):
            settings = {"conditioning": kind, "scope": scope, "seed": seed}
            rows.append(run(config.changed(settings), data))
            figures = " ".join(f"{k} {v:.4g}" for k, v in rows[-1].items())
            print(f"{kind:12s} {scope:8s} seed {seed} {figures}", flush=True)
        deviation = stdev if len(rows) > 1 else pstdev
        summary = {k: (mean(r[k] for r in rows), deviation([r[k] for r in rows])) for k in rows[0]}
        table[f"{kind}/{scope}"] = summary
        print(f"{kind:12s} {scope:8s} mean   " + " ".join(f"{k} {m:.4g}±{s:.2g}" for k, (m, s) in summary.items()))
    print(json.dumps({name: row["hypervolume"][0] for name, row in table.items()}))


if __name__ == "__main__":
    main()

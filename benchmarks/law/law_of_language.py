"""The law for a language model: trained at c * beta against trained at beta and rescaled token by token."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from law.kept import kept

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.evaluation.profile import divergence, profiles
from cosdpo.models.base import load_base
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.simplex import das_dennis
from cosdpo.tasks.language import LanguageTask
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock

MEASURES = ("accuracy", "loss", "kl")


def referenced(config: Config) -> list[PreferenceData]:
    """Training and held-out data with reference scores."""
    task = LanguageTask.prepare(config)
    frozen = FrozenScorer.of(load_base(config.model.base, torch.float32))
    sides = [task.train, task.held_out]
    for side in sides:
        scores = frozen.all_references(side.contexts, config.evaluation.batch_tokens)
        side.reference = [np.array(row) for row in scores]
    return sides


def run(config: Config, sides: list[PreferenceData], ratios: list[float]) -> dict[str, Any]:
    """Trains at config.temperature and measures at its multiples `ratios`: accuracy and loss [R, N, m], and the
    distance from the base [R, N] in nats per token.
    """
    torch.manual_seed(config.seed)
    scorer = LanguageScorer.create(config, load_base(config.model.base, torch.float32))
    optimizer = optimizer_for(scorer, config)
    clock = train(scorer, sides[0], config, optimizer, Clock(), lambda line: None, lambda now: None)
    scorer.eval()
    score, beta, tokens = (
        partial(scorer.rescaled_to_each, ratios=ratios),
        config.temperatures,
        config.evaluation.batch_tokens,
    )
    grid = das_dennis(len(config.objectives), config.partitions)
    along = [profiles(score, sides[1], w, beta, ratios, tokens) for w in grid]
    distances = [divergence(scorer, sides[1], len(sides[1]), w, beta, ratios, tokens) for w in grid]
    measures = {
        name: [[getattr(of_w[r], name).tolist() for of_w in along] for r in range(len(ratios))]
        for name in ("accuracy", "loss")
    }
    kl = np.array([nats.mean[:, 0] for nats in distances]).T.tolist()
    return {"seconds": clock.seconds, "ratios": ratios, "weights": grid.tolist(), **measures, "kl": kl}


def law(config: Config, betas: list[float], seeds: int, folder: Path) -> dict[str, Any]:
    """All measures of both ways at every temperature: {measure: {"trained" or "rescaled": [seeds, betas, N, ...]}}.

    The model that is rescaled is the one trained at config.temperature, which must be among `betas`.
    """
    trained_at = config.temperatures[0]
    sides: list[PreferenceData] = []

    def trained(seed: int, beta: float) -> dict[str, Any]:
        ratios = [b / trained_at for b in betas] if beta == trained_at else [1.0]
        sides.extend([] if sides else referenced(config))
        made = run(config.changed({"seed": seed, "temperature": beta}), sides, ratios)
        print(f"language: beta {beta:g} seed {seed} trained in {made['seconds']:.0f} s", flush=True)
        return made

    every = [
        {beta: kept(folder, f"language-{beta:g}-{seed}", lambda s=seed, b=beta: trained(s, b)) for beta in betas}
        for seed in range(seeds)
    ]
    return {
        "betas": betas,
        "measures": MEASURES,
        "weights": every[0][trained_at]["weights"],
        **{
            measure: {
                "trained": [[runs[b][measure][runs[b]["ratios"].index(1.0)] for b in betas] for runs in every],
                "rescaled": [
                    [runs[trained_at][measure][runs[trained_at]["ratios"].index(b / trained_at)] for b in betas]
                    for runs in every
                ],
            }
            for measure in MEASURES
        },
    }

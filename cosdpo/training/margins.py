"""What MO-DPO passes from one training to another: the rewards r^k of single-objective runs, as margins."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.training_data import TrainingData
from cosdpo.files import whole_file
from cosdpo.losses import modpo_margins
from cosdpo.training.world import World

REWARDS = "rewards.parquet"


@torch.no_grad()
def rewards(
    scorer: Any, config: Config, data: TrainingData, device: torch.device, world: World
) -> tuple[dict[int, Floats], float]:
    """Rewards beta r_i = beta (log pi - log pi_ref) of every candidate under one objective's policy.

    Args:
        world: this worker's place among those that divide the contexts among them.

    Returns:
        [n] of each of this worker's contexts by its index, and the seconds it took.
    """
    began, values = time.perf_counter(), {}
    m = len(config.objectives)
    beta = torch.tensor(config.temperatures, device=device, dtype=torch.float32)
    weights = torch.tensor(config.training.weights or [1 / m] * m, device=device, dtype=torch.float32)
    own = int(np.argmax(config.training.weights)) if config.training.weights else 0
    batches = data.in_order_of_length(config.evaluation.batch_tokens)
    for indices in islice(batches, world.rank, None, world.size):
        batch = data.batch(indices).to(device)
        rows = (len(indices), m)
        scores = scorer(batch.contexts, weights.expand(rows), beta.expand(rows)) - batch.reference
        scaled = (scores * config.temperatures[own]).double().cpu().numpy()
        for index, row, count in zip(indices, scaled, batch.mask.sum(1).tolist(), strict=True):
            values[index] = row[:count]
    return values, time.perf_counter() - began


def read(sources: Sequence[tuple[Path, float]], config: Config) -> list[Floats]:
    """(1 / beta) sum_k w_k r^k of every candidate, [n] per context, from the run folders of the r^k and their w_k."""
    import pyarrow.parquet as pq  # here, so that a training without margins needs no pyarrow

    own = int(np.argmax(config.training.weights))
    # MO-DPO trains at beta / w_j; the margin is divided by beta itself.
    weight = 1 - sum(w for _, w in sources)
    beta = config.temperatures[own] * weight
    stored = [pq.read_table(folder / REWARDS)["rewards"].to_pylist() for folder, _ in sources]
    shares = torch.tensor([w for _, w in sources], dtype=torch.float64)
    return [
        modpo_margins(torch.tensor(rows, dtype=torch.float64), shares, beta).numpy()
        for rows in zip(*stored, strict=True)
    ]


def store(folder: Path, values: Mapping[int, Floats]) -> None:
    """Writes what `read` reads: the rewards of all contexts, by their index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array([values[index].tolist() for index in range(len(values))], type=pa.list_(pa.float64()))
    with whole_file(folder / REWARDS) as temporary:
        pq.write_table(pa.table({"rewards": column}), temporary)

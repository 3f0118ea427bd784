"""Reference scores under a base that no worker holds whole: the run's workers score together, before they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
import torch.distributed as dist

from cosdpo.activity import counting
from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.base import load_base
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.training.devices import base_dtype, training_device
from cosdpo.training.ray_train import on_workers_for_once
from cosdpo.training.reference import REFERENCE
from cosdpo.training.strategies.fsdp import shard
from cosdpo.training.strategies.lockstep import Rounds

FOLDER = "reference"
"""Ray Train's folder inside the run folder, kept while the scores are computed."""


@dataclass(frozen=True)
class _Request:
    config: Config
    contexts: Any
    """Object reference of the contexts."""


def score(config: Config, contexts: Sequence[TokenizedContext]) -> list[Floats]:
    """log pi_ref of every candidate, [n] per context; needs a running Ray."""
    request = _Request(config, ray.put(list(contexts)))
    rows: list[list[float]] = on_workers_for_once(config, FOLDER, _score, request)
    return [np.asarray(row, dtype=np.float64) for row in rows]


def _score(request: _Request) -> list[list[float]]:
    config = request.config
    torch.set_num_threads(config.scaling.worker_threads)
    device = training_device(config.scaling.use_gpu)
    scorer = FrozenScorer.of(load_base(config.model.base, base_dtype(config, torch.device("cpu"))))
    shard(scorer, device, offload=config.scaling.offload == "parameters")
    contexts = ray.get(request.contexts)
    with counting(config.output, REFERENCE, len(contexts[dist.get_rank() :: dist.get_world_size()])):
        return score_together(scorer, contexts, config.evaluation.batch_tokens)


def score_together(scorer: FrozenScorer, contexts: Sequence[TokenizedContext], batch_tokens: int) -> list[list[float]]:
    """log pi_ref of all contexts under a sharded base, on every worker; each of them scores every N-th context."""
    rank, size = dist.get_rank(), dist.get_world_size()
    with Rounds(scorer).uneven():
        mine = scorer.all_references(contexts[rank::size], batch_tokens)
    shares: list[Any] = [None] * size
    dist.all_gather_object(shares, mine)
    rows: list[list[float]] = [[]] * len(contexts)
    for number, share in enumerate(shares):
        rows[number::size] = share
    return rows

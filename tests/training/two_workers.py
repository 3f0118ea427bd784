"""One of two workers that train together, as a process of its own: python -m tests.training.two_workers FOLDER RANK.

Reads FOLDER/config.json; writes FOLDER/trained.RANK.safetensors and FOLDER/lines.RANK. Run by test_loop.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from cosdpo.config import Config
from cosdpo.training.checkpoint import Clock
from cosdpo.training.loop import World, optimizer_for, train
from tests.tiny_models import preferences, scorer


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    config = Config.model_validate_json((folder / "config.json").read_text())
    module = scorer(config)
    data = preferences(Path(config.model.base), config)
    lines: list[dict[str, float]] = []
    train(
        DistributedDataParallel(module),
        data,
        config,
        optimizer_for(module, config),
        Clock(),
        lines.append,
        lambda clock: None,
        World(rank, 2),
    )
    save_file({n: p.detach().clone() for n, p in module.trainable().items()}, folder / f"trained.{rank}.safetensors")
    (folder / f"lines.{rank}").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

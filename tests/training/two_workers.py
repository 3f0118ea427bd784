"""One of several workers that train together, as a process of its own:
python -m tests.training.two_workers FOLDER RANK [SIZE], of two where the last is left out.

Reads FOLDER/config.json, of a tiny language model or a tiny ranker; writes FOLDER/trained.RANK.safetensors and
FOLDER/lines.RANK. Run by test_invariants.py, test_ranking_invariants.py and test_elastic.py.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from cosdpo.config import Config
from cosdpo.training.checkpoint import Clock
from cosdpo.training.loop import World, train_together
from cosdpo.training.strategies.start import start


def made(config: Config) -> tuple[Any, Any]:
    """Scorer and training data; a ranker needs no transformers."""
    if config.task == "ranking":
        from tests.tiny_rankers import ranking_data, scorer

        return scorer(config), ranking_data(config)
    from tests import tiny_models

    return tiny_models.scorer(config), tiny_models.preferences(Path(config.model.base), config)


def leave() -> NoReturn:
    """Ends the process, whose work is written, without Python's shutdown: a thread of Gloo that lets go of the last
    all-reduce's tensors during it aborts the process.
    """
    os._exit(0)


def main(folder: Path, rank: int, size: int = 2) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size)
    config = Config.model_validate_json((folder / "config.json").read_text())
    module, data = made(config)
    strategy = start(config, lambda config, device: module, torch.device("cpu"))
    lines: list[dict[str, float]] = []
    train_together(strategy, data, config, Clock(), lines.append, lambda clock: None, World(rank, size))
    trained = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
    save_file(trained, folder / f"trained.{rank}.safetensors")
    (folder / f"lines.{rank}").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    leave()

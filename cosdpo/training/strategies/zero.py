"""ZeRO: AdamW's moments (1), gradients (2) and the frozen base (3) lie in parts over the workers.

DeepSpeed has what is trained: it shards moments and gradients and can keep them in host memory. The trained tensors
themselves, a few percent of the model, stay whole, so that adapters, gates and soft prompts are read and saved as ever.
In stage 3 the frozen decoder layers are sharded by strategies/fsdp.py: DeepSpeed's own partition gathers frozen
matrices one by one without prefetching and fails under gradient checkpointing, where their shapes have changed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cosdpo.config import Config
from cosdpo.training.loop import optimizer_for
from cosdpo.training.strategies.fsdp import shard
from cosdpo.training.strategies.lockstep import Rounds
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import MOMENTS


class Zero(Strategy):
    """ZeRO-1, 2 or 3 by config.scaling.zero_stage."""

    def __init__(self, scorer: Any, config: Config, device: torch.device) -> None:
        """`scorer` is on the CPU, the same on every worker."""
        deepspeed = _deepspeed(device)
        self.rounds: Rounds | None = None
        if config.scaling.zero_stage == 3:
            shard(scorer, device, offload=config.scaling.offload == "parameters")
            self.rounds = Rounds(scorer)
        else:
            scorer.to(device)
        optimizer = optimizer_for(scorer, config)
        super().__init__(scorer, optimizer)
        offload = {"offload_optimizer": {"device": "cpu"}} if config.scaling.offload != "none" else {}
        self.engine, *_ = deepspeed.initialize(
            model=nn.ParameterList(self.parameters),
            optimizer=optimizer,
            config={
                "train_micro_batch_size_per_gpu": 1,  # only reported by DeepSpeed: the loop makes the batches
                "gradient_clipping": config.training.clip,
                "zero_optimization": {"stage": min(config.scaling.zero_stage, 2), **offload},
                # torch's AdamW on the host too, so that offloading changes no result
                "zero_force_ds_cpu_optimizer": False,
            },
        )
        # Made here rather than in the first step, after which DeepSpeed finds the moments of the first group only.
        zero = self.engine.optimizer
        for part in self._parts():
            moments = {key: torch.zeros_like(part) for key in MOMENTS}
            zero.optimizer.state[part] = {"step": torch.tensor(0.0), **moments}
        zero._lazy_init_hp_params_optimizer_state()

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """Tells the engine with which backward pass a step is whole."""
        self.engine.set_gradient_accumulation_boundary(last)
        yield

    def score(self, contexts: Any, weights: Tensor, temperatures: Tensor) -> Tensor:
        """The scorer's scores, in step where the base is sharded."""
        with self.apart():
            return super().score(contexts, weights, temperatures)

    def backward(self, loss: Tensor) -> None:
        """Through the engine, which averages and shards the gradients."""
        self.engine.backward(loss)

    def step(self, clip: float) -> float:
        """The engine clips by the configured norm itself, and says -1 for one that is not finite."""
        self.engine.step()
        norm = float(self.engine.get_global_grad_norm())
        return norm if norm >= 0 else float("nan")

    def apart(self) -> AbstractContextManager[None]:
        """Workers stay in step where the base is sharded."""
        return self.rounds.uneven() if self.rounds else nullcontext()

    def state(self) -> dict[str, Tensor]:
        """Moments are put together from all workers' parts."""
        from deepspeed.utils import safe_get_full_optimizer_state

        tensors = {}
        for name, parameter in self._trained():
            tensors[f"parameter/{name}"] = parameter.detach()
            for key in MOMENTS:
                tensors[f"{key}/{name}"] = safe_get_full_optimizer_state(parameter, key)
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Every worker takes its parts of the moments."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for part in self._parts():
            self.engine.optimizer.optimizer.state[part]["step"].fill_(step)
        for name, parameter in self._trained():
            value = tensors[f"parameter/{name}"].to(parameter.device)
            parameter.data.copy_(value)
            safe_set_full_fp32_param(parameter, value)
            for key in MOMENTS:
                safe_set_full_optimizer_state(parameter, tensors[f"{key}/{name}"].to(parameter.device), key)

    def _parts(self) -> Iterator[Tensor]:
        """This worker's part of every parameter group, as AdamW knows it."""
        for group in self.engine.optimizer.optimizer.param_groups:
            yield from group["params"]

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.scorer.named_parameters() if p.requires_grad)


def _deepspeed(device: torch.device) -> Any:
    """The package, on `device` and in the process group that there is; a single worker gets one of its own."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    os.environ.setdefault("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1"))
    os.environ.setdefault("LOCAL_RANK", "0")
    if device.type == "cuda":
        os.environ["LOCAL_RANK"] = str(device.index)  # DeepSpeed's only way to learn its device
    if not dist.is_initialized():
        backend = "gloo" if device.type == "cpu" else "nccl"
        dist.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False, verbose=False)
    return deepspeed

"""FSDP2: the frozen decoder layers lie in parts over all workers and are gathered one layer at a time.

What is trained stays whole and plain on every worker, and its gradients are averaged in one all-reduce per step:
optimiser, checkpoints and servable saves are those of a single worker. Embeddings and head stay whole as well, since
the log-probabilities read them directly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from cosdpo.models.base import decoder_layers
from cosdpo.training.strategies.lockstep import Rounds
from cosdpo.training.strategies.strategy import Strategy


class Fsdp(Strategy):
    """A sharded base under whole trained tensors."""

    def __init__(self, scorer: Any, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """`scorer` is on the CPU, the same on every worker; only its parts are moved to `device`."""
        shard(scorer, device)
        super().__init__(scorer, optimizer)
        self.rounds = Rounds(scorer)

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """Averages the gradients after the last micro-batch."""
        yield
        if last:
            average_gradients(self.parameters)

    def score(self, contexts: Sequence[Any], weights: Tensor, temperatures: Tensor) -> Tensor:
        """In step: prompts of one token are not encoded beforehand, so that workers' passes may differ in number."""
        with self.rounds.uneven():
            return super().score(contexts, weights, temperatures)

    def apart(self) -> AbstractContextManager[None]:
        """Workers stay in step, whatever each of them has to do."""
        return self.rounds.uneven()


def shard(scorer: Any, device: torch.device, offload: bool = False) -> None:
    """Shards the decoder layers of `scorer` over all workers and moves everything else to `device`, whole.

    Layer by layer, so that no device ever holds more than one whole layer. On the host nothing is held twice either:
    weights of the type they are stored in are read from the file's pages, which all workers of a node share.

    Args:
        scorer: a FrozenScorer or LanguageScorer on the CPU.
        offload: keep the parts in host memory and copy a layer's to the device when it is gathered.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    policy = CPUOffloadPolicy() if offload and device.type == "cuda" else OffloadPolicy()
    stack = decoder_layers(scorer.body)
    trained = {p for p in scorer.parameters() if p.requires_grad}
    for layer in stack:
        fully_shard(layer, mesh=mesh, offload_policy=policy, ignored_params=trained)
    in_layers = set(stack.parameters())
    rest = {p for p in scorer.body.parameters() if p not in in_layers} | trained
    # The body itself holds no part: it is the root that tells the layers when a pass begins and ends.
    fully_shard(scorer.body, mesh=mesh, offload_policy=policy, ignored_params=rest)
    for tensor in _whole_tensors(scorer):
        tensor.data = tensor.data.to(device)


def _whole_tensors(scorer: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers that are not sharded."""
    for tensor in (*scorer.parameters(), *scorer.buffers()):
        if not isinstance(tensor, DTensor):
            yield tensor


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the workers, in one exchange; an absent one counts as 0."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    parts = flat.div_(dist.get_world_size()).split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)

"""What one GPU holds of a training step under each strategy (docs/scaling.md)."""

from __future__ import annotations

from dataclasses import dataclass

from cosdpo.config import Config
from cosdpo.preflight.step_memory import StepMemory

GIB = 1 << 30
RESERVE = 2 * GIB
"""CUDA's context, NCCL's buffers and what the allocator cannot use; without a GPU, what the process itself takes and
what malloc cannot use: an assumption, not measured."""
GATHERED = 2
"""Decoder layers that are whole at a time where layers are sharded: the one that runs and the next one."""
NF4_BYTES = 0.5 + 4 / 64
"""Bytes per weight in 4 bits, with a float32 scale per block of 64."""


@dataclass(frozen=True)
class Share:
    """Bytes of one worker: on its GPU, or in its process."""

    strategy: str
    """ddp, fsdp, or deepspeed with its ZeRO stage."""
    base: float
    """The frozen base."""
    trained: float
    """Adapters and conditioning, their gradients and the optimiser's state."""
    activations: float

    @property
    def total(self) -> float:
        """All of it, with the reserve."""
        return self.base + self.trained + self.activations + RESERVE


def name_of(config: Config) -> str:
    """The name of the strategy that `config` chose, as in `Share.strategy`."""
    scaling = config.scaling
    return f"deepspeed {scaling.zero_stage}" if scaling.strategy == "deepspeed" else scaling.strategy


def shares(memory: StepMemory, config: Config) -> dict[str, Share]:
    """The share of one GPU under every strategy, by name."""
    workers, offload = config.scaling.workers, config.scaling.offload
    n, layers, layer = memory.trained, memory.layers, memory.layer
    if config.model.quantization == "nf4":
        layers, layer = (x * NF4_BYTES / 2 for x in (layers, layer))
    whole = layers + memory.rest
    sharded = min(layers, layers / workers + GATHERED * layer) + memory.rest
    # float32 weights and gradients, 4 bytes each; AdamW's moments, 8; a flat copy of the gradients that is exchanged.
    exchanged = 4 * n if workers > 1 else 0
    moments = 8 * n
    by_strategy = [
        Share("ddp", whole, 8 * n + moments + exchanged, memory.activations),
        Share("fsdp", sharded, 8 * n + moments + exchanged, memory.activations),
    ]
    for stage in (1, 2, 3):
        # ZeRO keeps a float32 copy of what each worker updates next to the moments of it.
        state = 0.0 if offload != "none" else (moments + 4 * n) / workers
        gradients = 4 * n / (workers if stage > 1 else 1)
        base = whole
        if stage == 3:
            base = GATHERED * layer + memory.rest if offload == "parameters" else sharded
        by_strategy.append(Share(f"deepspeed {stage}", base, 4 * n + gradients + state, memory.activations))
    return {share.strategy: share for share in by_strategy}

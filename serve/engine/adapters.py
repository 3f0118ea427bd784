"""Low-rank updates in the fewest operations, for passes whose every token has its own gates.

peft's layers serve every kind of adapter, and cost more than the update itself where a model is small. In the engine's
passes each adapted matrix is one product of the base, two thin ones and a multiplication; in all others (scoring) the
layers run as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


class Adapters:
    """All adapted matrices of one model, in the order of its gates."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Takes over the layers of `model`.

        Args:
            dtype: in which matrices are multiplied.
        """
        self.layers = [Adapted(m, dtype) for m in model.modules() if isinstance(m, LoraLayer)]

    def use(self, gates: Tensor | None) -> None:
        """Gates of the pass that comes, [T, layers, rank]; None runs the base alone."""
        each: Any = [None] * len(self.layers) if gates is None else gates.unbind(1)
        for layer, own in zip(self.layers, each, strict=False):  # behind the layers come the model's two ends
            layer.gates, layer.within = own, True

    def leave(self) -> None:
        """Gives the layers back to peft until the next pass."""
        for layer in self.layers:
            layer.within = False


class Adapted:
    """One adapted matrix: x W + b + scaling * (g * (x A^T)) B^T."""

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        self.by_peft: Callable[..., Tensor] = module.forward
        self.base: Callable[[Tensor], Tensor] = module.get_base_layer().forward
        self.a = module.lora_A["default"].weight.detach().t().to(dtype)
        self.b = (module.lora_B["default"].weight.detach().t() * module.scaling["default"]).to(dtype)
        self.dtype = dtype
        self.gates: Tensor | None = None
        """[T, rank]."""
        self.within = False
        """Whether a pass of the engine runs."""
        module.forward = self.forward

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[T, 1, outputs] from [T, 1, inputs]; of any shape outside the engine's passes."""
        if not self.within:
            return self.by_peft(x, *args, **kwargs)
        rows = x.reshape(-1, x.shape[-1]).to(self.dtype)
        out = self.base(rows)
        if self.gates is not None:
            out.addmm_((rows @ self.a).mul_(self.gates), self.b)
        return out.view(*x.shape[:-1], -1)

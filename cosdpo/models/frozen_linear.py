"""Products with frozen matrices in float32 on CPUs where MKL, PyTorch's choice for them, is slow.

MKL takes its AVX-512 kernels on Intel's processors alone and falls back to AVX2 on others, while oneDNN, which PyTorch
brings along too, uses what the processor has: on an AMD EPYC with AVX-512 up to 2.3 times MKL's speed
(benchmarks/products.py). Both add up in float32. Elsewhere, and in other types, products stay PyTorch's own.

For that factor of two this file does what it otherwise should not: it asks the processor for its maker, and it changes
the class of a frozen model's linear layers in place. The environment variable COSDPO_FAST_PRODUCTS=0, set for every
process that loads a model, turns both off and leaves all products to PyTorch; the two differ by float32's rounding.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

FEWEST = 1 << 20
"""Multiplications of a product from which on oneDNN's longer way in (about 10 us a call) pays off."""


@cache
def mkl_is_slow() -> bool:
    """Whether this CPU has AVX-512 units that MKL leaves unused; never where COSDPO_FAST_PRODUCTS is 0."""
    if os.environ.get("COSDPO_FAST_PRODUCTS") == "0":
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    cpus = Path("/proc/cpuinfo")
    return cpus.exists() and "GenuineIntel" not in cpus.read_text() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, as torch.nn.functional.linear; gradients flow to x alone where the weight is frozen.

    Args:
        x: [..., inputs].
        weight: [outputs, inputs], of any strides.
        bias: [outputs] or None.
    """
    fast = (
        x.numel() * weight.shape[0] >= FEWEST
        and mkl_is_slow()
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and not weight.requires_grad
        and not (bias is not None and bias.requires_grad)
        and not torch.is_autocast_enabled("cpu")
    )
    if not fast:
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and x.requires_grad:
        product: Tensor = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return product
    return _onednn(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _onednn(gradient, weight.T, None), None, None


class FrozenLinear(nn.Linear):
    """A linear layer whose parameters are not trained."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., outputs] from [..., inputs]."""
        return linear(x, self.weight, self.bias)


class FrozenConv1D(Conv1D):
    """GPT-2's linear layer, whose weight is [inputs, outputs]."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., outputs] from [..., inputs]."""
        return linear(x, self.weight.T, self.bias)


def speed_up(model: nn.Module) -> None:
    """Makes the plain linear layers of a frozen model frozen ones; their parameters and names stay what they are."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FrozenLinear
        elif type(module) is Conv1D:
            module.__class__ = FrozenConv1D

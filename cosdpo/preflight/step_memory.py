"""Memory of a training step, measured on fake tensors: the real model code runs, but nothing is allocated.

Nothing here knows a formula for attention or checkpointing. The model is built from its config alone, one forward and
backward pass of the largest micro-batch runs through the scorer that will be trained, and `LiveMemory` follows what
would be alive. A deep model is measured at two small depths: every decoder layer adds the same.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from cosdpo.config import Config
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.base import decoder_layers, freeze
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.packing import ATTENTION

DEPTHS = (2, 4)
"""Decoder layers of the two measurements from which deeper models are extrapolated."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step on one device that holds the whole model."""

    layers: float
    """The frozen decoder layers."""
    layer: float
    """One of them."""
    rest: float
    """The frozen embeddings, head and final norm."""
    trained: float
    """Number of trained parameters, which are held in float32."""
    activations: float
    """The most that lives besides weights and gradients: what is kept for the backward pass, and passing results."""

    @property
    def peak(self) -> float:
        """Weights, gradients, AdamW's two moments and activations together."""
        return self.layers + self.rest + 16 * self.trained + self.activations


def step_memory(config: Config, model: Any, contexts: Sequence[TokenizedContext], dtype: torch.dtype) -> StepMemory:
    """The memory of a step of `config` on the micro-batch `contexts`.

    Args:
        model: the transformers config of the base.
        dtype: type of the frozen base.
    """
    depth = int(model.num_hidden_layers)
    if depth <= max(DEPTHS):
        return _measured(config, model, contexts, dtype)
    few, more = (_measured(config, _of_depth(model, layers), contexts, dtype) for layers in DEPTHS)
    steps = (depth - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0])
    figures = {name: value + steps * (getattr(more, name) - value) for name, value in vars(few).items()}
    return StepMemory(**figures)


def _of_depth(model: Any, layers: int) -> Any:
    shallow = copy.deepcopy(model)
    shallow.num_hidden_layers = layers
    if getattr(shallow, "layer_types", None):
        shallow.layer_types = shallow.layer_types[:layers]
    return shallow


def _measured(config: Config, model: Any, contexts: Sequence[TokenizedContext], dtype: torch.dtype) -> StepMemory:
    model = copy.deepcopy(model)
    model._attn_implementation = ATTENTION
    with torch.device("meta"):
        base = freeze(AutoModelForCausalLM.from_config(model, dtype=dtype, trust_remote_code=False))
        scorer = LanguageScorer.create(config, base)
    # Layouts are made of real index arrays, which the mode takes in as they come.
    with FakeTensorMode(allow_non_fake_inputs=True):
        _make_fake(scorer)
        weights = torch.empty(len(contexts), len(config.objectives))
        scorer.train()
        with LiveMemory([*scorer.parameters(), *scorer.buffers()]) as live:
            scorer(contexts, weights, weights).sum().backward()
    frozen = sum(p.nbytes for p in scorer.parameters() if not p.requires_grad)
    layers = [_frozen_bytes(layer) for layer in decoder_layers(scorer.body)]
    trained = scorer.trained_parameters()
    return StepMemory(sum(layers), max(layers), frozen - sum(layers), trained, live.peak - frozen - 8 * trained)


def _frozen_bytes(module: nn.Module) -> float:
    return sum(p.nbytes for p in module.parameters() if not p.requires_grad)


def _make_fake(scorer: nn.Module) -> None:
    """Replaces the meta tensors of `scorer` by fake ones on the CPU, where autocast and fused attention work."""
    made: dict[int, Tensor] = {}
    for module in scorer.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype)
                    trained = tensor.requires_grad
                    made[id(tensor)] = nn.Parameter(fake, trained) if isinstance(tensor, nn.Parameter) else fake
                store[name] = made[id(tensor)]  # type: ignore[assignment]  # a parameter where there was one


class LiveMemory(TorchDispatchMode):
    """Within `with LiveMemory(held) as memory:`, memory.peak is the largest number of bytes alive at once.

    It follows every storage that an operation returns. PyTorch's own MemTracker counts the same of single operations,
    but hooks every module's output and fails where one needs no gradient, as in a frozen base.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        """`held` are the tensors that exist already; those that share a storage count once."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._alive: set[int] = set()
        for tensor in held:
            self._follow(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(returned):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return returned

    def _follow(self, storage: torch.UntypedStorage) -> None:
        # The Python object of a storage may be made anew for every tensor, its address in C++ lives as long as it does.
        address = storage._cdata
        if address in self._alive:
            return
        self._alive.add(address)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, address, storage.nbytes())

    def _forget(self, address: int, size: int) -> None:
        self._alive.discard(address)
        self.now -= size

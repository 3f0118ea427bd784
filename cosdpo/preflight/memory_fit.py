"""What a worker holds of a language model's training under every strategy, whether a GPU can, and what would help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from cosdpo.config import Config
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.models.base import context_length, load_config
from cosdpo.preflight.shares import GIB, Share, name_of, shares
from cosdpo.preflight.step_memory import StepMemory, step_memory
from cosdpo.training.devices import base_dtype
from cosdpo.training.loop import largest_share

ASSUMED_LENGTH = 512
"""Tokens of a prompt with one response where neither data nor data.max_length says."""
MOST_WORKERS = 256
"""Largest number of workers that a mend proposes."""


@dataclass
class MemoryFit:
    """Memory of one training of a language model: on one GPU of the cluster, or in a worker's process without GPUs."""

    config: Config
    contexts: Sequence[TokenizedContext] = ()
    """Training contexts; where there are none yet, pairs of data.max_length tokens are assumed."""
    _steps: dict[tuple[bool, int, torch.dtype], StepMemory] = field(default_factory=dict)

    @cached_property
    def model(self) -> Any:
        """The base's transformers config."""
        return load_config(self.config.model.base, weights=False)

    def memory(self, config: Config) -> StepMemory:
        """Memory of a step under a changed `config` of the same base and data."""
        micro = _at_a_time(config)
        # What the workers hold, whichever machine prints it.
        dtype = base_dtype(config, torch.device("cuda" if config.scaling.use_gpu else "cpu"))
        key = (config.model.gradient_checkpointing, micro, dtype)
        if key not in self._steps:
            self._steps[key] = step_memory(config, self.model, self.longest(micro), dtype)
        return self._steps[key]

    def share(self, config: Config) -> Share:
        """What one worker holds under the strategy that `config` chose."""
        return shares(self.memory(config), config)[name_of(config)]

    def longest(self, count: int) -> list[TokenizedContext]:
        """The `count` contexts with the most tokens."""
        if self.contexts:
            order = sorted(range(len(self.contexts)), key=lambda i: -self.contexts[i].tokens)
            return [self.contexts[order[i % len(order)]] for i in range(count)]
        length = self.config.data.max_length or min(ASSUMED_LENGTH, context_length(self.model))
        prompt = length // 2
        return [TokenizedContext(prompt=[0] * prompt, candidates=[[0] * (length - prompt)] * 2)] * count

    def fits(self, config: Config) -> bool:
        """Whether a GPU of gpu.memory holds its share."""
        return self.share(config).total <= self.config.gpu.memory * GIB

    def _mended(self, changes: Mapping[str, object]) -> bool:
        """Whether it would fit with these values, if they go with the others."""
        try:
            return self.fits(self.config.changed(changes))
        except InputError:
            return False

    def check(self) -> None:
        """Refuses what no GPU could hold.

        Raises:
            InputError: with the keys that would make it fit.
        """
        if self.fits(self.config):
            return
        need = self.share(self.config).total / GIB
        # Every mend is measured: a kind whose last fails is not gone through.
        kinds = (mends for mends in _mends(self.config) if mends and self._mended(mends[-1][0]))
        mend = next(
            (text for mends in kinds for changes, text in mends if self._mended(changes)), "choose a smaller base"
        )
        raise InputError(
            f"model.base needs {need:.1f} GiB on every GPU under {name_of(self.config)}, and gpu.memory is "
            f"{self.config.gpu.memory:g}: {mend}"
        )

    def print(self) -> None:
        """Prints the memory of a worker under every strategy."""
        config, on_gpu = self.config, self.config.scaling.use_gpu
        micro = _at_a_time(config)
        longest = self.longest(1)[0]
        memory = self.memory(config)
        by_strategy = shares(memory, config)
        chosen = name_of(config)
        table = Table("GiB on each GPU" if on_gpu else "GiB of main memory", box=None, pad_edge=False)
        for name in by_strategy:
            table.add_column(name + (" *" if name == chosen else ""), justify="right")
        rows = {
            "frozen base": [s.base for s in by_strategy.values()],
            "what is trained": [s.trained for s in by_strategy.values()],
            "activations": [s.activations for s in by_strategy.values()],
            "all, with a reserve": [s.total for s in by_strategy.values()],
        }
        for label, values in rows.items():
            table.add_row(label, *(f"{value / GIB:.1f}" for value in values))
        if on_gpu:
            limit = config.gpu.memory * GIB
            fits = ("yes" if s.total <= limit else "no" for s in by_strategy.values())
            table.add_row(f"fits {config.gpu.memory:g} GiB", *fits)
        console = Console()
        worker = "GPU" if on_gpu else "worker"
        console.print(
            f"{config.scaling.workers} {worker}(s) to a training, each with {micro} contexts of "
            f"{len(longest.prompt)} + "
            + " + ".join(str(len(y)) for y in longest.candidates)
            + f" tokens at a time; {memory.trained / 1e6:,.1f}M trained parameters; gradient checkpointing "
            + ("on" if config.model.gradient_checkpointing else "off")
        )
        console.print(table)
        console.print("* scaling.strategy")


def _at_a_time(config: Config) -> int:
    """Contexts of a worker's largest micro-batch."""
    return config.training.micro_batch or largest_share(config, config.scaling.fewest)


def _mends(config: Config) -> Iterator[list[tuple[dict[str, object], str]]]:
    """Changes of `config` that take less memory, in words, by kind; kinds and changes with the cheapest first, so that
    the last of a kind takes the least memory.
    """
    micro = _at_a_time(config)
    halves = [micro >> k for k in range(1, micro.bit_length())]
    yield [({"training.micro_batch": count}, f"set training.micro_batch {count}") for count in halves]
    checkpointing: dict[str, object] = {"model.gradient_checkpointing": True}
    yield [
        (
            checkpointing | {"training.micro_batch": count},
            "set model.gradient_checkpointing true" + (f" and training.micro_batch {count}" if count < micro else ""),
        )
        for count in (micro, *halves)
    ]
    workers = max(2, config.scaling.workers)
    while workers <= MOST_WORKERS:
        sharded = {"training.micro_batch": micro, "scaling.strategy": "fsdp", "scaling.workers": workers}
        words = "set scaling.strategy fsdp"
        if workers != config.scaling.workers:
            words += f" and scaling.workers {workers}"
        yield [
            (sharded, words),
            (
                sharded | checkpointing | {"training.micro_batch": 1},
                words + ", model.gradient_checkpointing true and training.micro_batch 1",
            ),
        ]
        workers *= 2

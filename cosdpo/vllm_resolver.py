"""A plugin of vLLM: its server answers `model="NAME@helpful=0.7,harmless=0.3"` with that point of a checkpoint.

    export COSDPO_CHECKPOINTS=NAME=runs/mine/checkpoint VLLM_ALLOW_RUNTIME_LORA_UPDATING=1
    vllm serve BASE --enable-lora --max-lora-rank 16 --max-loras 8

At fixed weights gated LoRA is LoRA (cosdpo/export.py): a point that is asked for is exported once, into a folder that
vLLM loads and evicts from its slots as any adapter. Weights are rounded to a grid. docs/serving-vllm.md.

An adapter's folder stays until the server ends. vLLM asks a resolver once a name; an adapter that it evicted it reads
again from the same path, within its engine, which a missing folder ends. So it is the grid that bounds the folders.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from functools import cached_property
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any
from urllib.parse import quote

from cosdpo.cli.command_line import framed
from cosdpo.errors import InputError
from cosdpo.models.cards import LanguageCard
from cosdpo.simplex import named_point, nearest, normalise

MOST = 1000
"""Adapters that there may be of one checkpoint."""


class FrontResolver:
    """Names of points to adapters, as vLLM's LoRAResolver (vllm/lora/resolver.py)."""

    def __init__(self, checkpoints: Mapping[str, Path], partitions: int = 20, base: str = "") -> None:
        """Raises InputError for a checkpoint whose points vLLM cannot serve.

        Args:
            checkpoints: folder of each, by the name that it is asked for by.
            partitions: weights are rounded to multiples of 1/partitions.
            base: another name or folder of the checkpoints' base, which may be quantised.
        """
        self.checkpoints = dict(checkpoints)
        self.partitions = partitions
        self.base = base
        self._cards = {name: self._card(name) for name in checkpoints}
        self._writes = Lock()

    @cached_property
    def _folder(self) -> TemporaryDirectory[str]:
        """Where the adapters are, under TMPDIR; gone when this process ends."""
        return TemporaryDirectory(prefix="cosdpo-adapters-")

    def _card(self, name: str) -> LanguageCard:
        from cosdpo.export import check_form  # here: each process of vLLM imports this module, used or not

        card = LanguageCard.read(self.checkpoints[name])
        m = len(card.objectives)
        if card.scope == "response":
            raise InputError(
                f"{name}: scope response acts from the last prompt token on, as activated LoRA, which vLLM does not "
                "take; train with scope sequence, or serve it by python -m serve"
            )
        check_form(card)
        if (points := comb(self.partitions + m - 1, m - 1)) > MOST:
            raise InputError(
                f"{name}: {m} objectives have {points} points in steps of 1/{self.partitions}, more than the {MOST} "
                "adapters that are kept; set a smaller COSDPO_GRID"
            )
        return card

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
        """The adapter of NAME@OBJECTIVE=WEIGHT,..., or of NAME, where all weigh the same; None for other names.

        Args:
            base_model_name: what vLLM serves, as its command line says.

        Raises:
            InputError: weights that the checkpoint cannot have, or another base than it was trained on. vLLM answers
                with status 400 and this line.
        """
        name = lora_name.partition("@")[0]
        if name not in self._cards:
            return None
        card = self._cards[name]
        _, asked = named_point(lora_name)
        weights = normalise(asked or [1.0] * len(card.objectives), card.objectives)
        base = self._base(name, base_model_name)
        folder = await asyncio.to_thread(self._adapter, name, nearest(weights, self.partitions), base)
        from vllm.lora.request import LoRARequest

        # vLLM numbers the adapters itself.
        return LoRARequest(lora_name=lora_name, lora_int_id=abs(hash(lora_name)) or 1, lora_path=str(folder))

    def _base(self, name: str, served: str) -> str:
        """Where the export finds the base's form.

        Raises:
            InputError: vLLM serves another one.
        """
        trained = self._cards[name].base
        if _same(served, trained):
            return trained
        if self.base and _same(served, self.base):
            return self.base
        raise InputError(
            f"{name} was trained on {trained}, and this server has {served}; serve that base, or set "
            f"COSDPO_BASE={served} if it is the same one, quantised or elsewhere"
        )

    def _adapter(self, name: str, units: list[int], base: str) -> Path:
        """The adapter's folder, written if it is not there."""
        from cosdpo.export import ExportSettings, export

        weights = ",".join(f"{key}={unit}" for key, unit in zip(self._cards[name].objectives, units, strict=True))
        with self._writes:
            folder = Path(self._folder.name) / quote(name, safe="") / "-".join(map(str, units))
            if not folder.exists():
                export(ExportSettings(checkpoint=self.checkpoints[name], weights=weights, to=folder, base=base))
        return folder


def register() -> None:
    """What vLLM calls in each of its processes: registers a FrontResolver where COSDPO_CHECKPOINTS is set.

    Wrong settings end the process with one line.
    """
    if os.environ.get("COSDPO_CHECKPOINTS", "").strip():
        framed(_register)


def _register() -> None:
    from vllm import envs
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

    if not envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING:
        raise InputError("COSDPO_CHECKPOINTS is set, but vLLM asks no resolver: set VLLM_ALLOW_RUNTIME_LORA_UPDATING=1")
    LoRAResolver.register(FrontResolver)
    LoRAResolverRegistry.register_resolver("cosdpo", from_environment(os.environ))


def from_environment(values: Mapping[str, str]) -> FrontResolver:
    """The resolver that COSDPO_CHECKPOINTS (NAME=DIR,...), COSDPO_GRID and COSDPO_BASE ask for.

    Raises:
        InputError: they are no such values, or as FrontResolver.
    """
    listed = values["COSDPO_CHECKPOINTS"]
    pairs = [[part.strip() for part in pair.split("=", 1)] for pair in listed.split(",") if pair.strip()]
    checkpoints = {pair[0]: Path(pair[-1]).expanduser() for pair in pairs if len(pair) == 2 and all(pair)}
    if len(checkpoints) < len(pairs) or any("@" in name for name in checkpoints):
        raise InputError(f"COSDPO_CHECKPOINTS {listed!r} is no list NAME=DIR,NAME=DIR of different names without an @")
    steps = values.get("COSDPO_GRID", "20").strip()
    if not steps.isdecimal() or not int(steps):
        raise InputError(f"COSDPO_GRID {steps!r} is no number of steps from weight 0 to 1, such as 20")
    return FrontResolver(checkpoints, int(steps), values.get("COSDPO_BASE", "").strip())


def _same(one: str, other: str) -> bool:
    """Whether both name one model: the same name on the hub, or the same folder."""
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())

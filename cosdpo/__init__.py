"""Conditioned one-shot multi-objective fine-tuning (COS-DPO): one run, the whole Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cosdpo.evaluation.choosing import choose
    from cosdpo.loaded import load

__version__ = "0.1.0"
__all__ = ["choose", "load"]


def __getattr__(name: str) -> Any:
    """`cosdpo.load` and `cosdpo.choose`, whose imports take seconds that nobody else shall wait for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cosdpo import loaded

    return getattr(loaded, name)

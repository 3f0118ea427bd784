"""The figure of the benchmark: what was trained at a temperature against what was rescaled to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from cosdpo.arrays import Floats
from cosdpo.evaluation.numbers import short
from cosdpo.reports import drawing
from cosdpo.reports.drawing import INK, MUTED, PAPER, colour, quiet


def draw(of_ranker: Any, of_language: Any, trained_at: float, betas: Sequence[float], path: Path) -> None:
    """Draws a dot per weight, objective and temperature, the mean over seeds; the law is the diagonal."""
    ranked = {
        kind: [np.array([run[way] for run in runs])[..., :-1].mean(0) for way in ("rescaled", "trained")]
        for kind, runs in of_ranker.items()
    }
    spoken = {
        name: [np.array(of_language[name][way])[:, 1:].mean(0) for way in ("rescaled", "trained")]
        for name in ("accuracy", "kl")
    }
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(drawing.WIDTH, 3.3)
        panels = drawn.subplots(1, 4)
        _scatter(panels[0], "ranker, augmentation", "NDCG@10", ranked["augmentation"], betas)
        _scatter(panels[1], "ranker, from scratch", "NDCG@10", ranked["scratch"], betas)
        _scatter(panels[2], "language model", "accuracy", spoken["accuracy"], betas)
        panels[3].set_xscale("log")
        panels[3].set_yscale("log")
        _scatter(panels[3], "language model", "KL to base, nats/token", spoken["kl"], betas)
        for axis in (panels[3].xaxis, panels[3].yaxis):
            axis.set_major_formatter(lambda x, _: f"{x:g}")
        panels[3].legend(
            loc="lower right", frameon=False, fontsize=7.5, handletextpad=0.2, title="temperature", title_fontsize=7.5
        )
        drawn.supxlabel(
            "a dot per weight and objective (of the KL per weight), mean over seeds; "
            f"rescaled from temperature {short(trained_at)}",
            size=8,
            color=MUTED,
        )
    drawing.save_png(drawn, path)


def _scatter(axes: Axes, title: str, what: str, ways: Sequence[Floats], betas: Sequence[float]) -> None:
    """Rescaled [betas, ...] to the right, trained upwards."""
    quiet(axes)
    axes.set_title(title, color=INK)
    axes.set_xlabel(f"{what}, rescaled")
    axes.set_ylabel(f"{what}, trained there")
    ends = [min(map(np.min, ways)), max(map(np.max, ways))]
    axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for b, (beta, x, y) in enumerate(zip(betas, *ways, strict=True)):
        look = {"color": colour(b), "markeredgecolor": PAPER, "markersize": 5.5, "linestyle": "", "marker": "o"}
        axes.plot(x.ravel(), y.ravel(), label=short(beta), **look)

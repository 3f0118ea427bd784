"""Ink and paper of the plots: colours, marks, and the bare figure. reports/sheet.py lays out panels of them.

Colours are those of white paper; in a page reports/inline_svg.py ties them to the reader's light or dark mode. Figures
are built through matplotlib's object-oriented API on the Agg canvas.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cosdpo.files import whole_file

INK, MUTED, RULE, PAPER = "#1c2024", "#626a73", "#dfe3e8", "#fefefe"
OBJECTIVE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#7a5195")
"""Okabe and Ito (2008), readable with every common colour blindness. Their yellow and black are too near paper and ink;
two darker hues take the seventh and eighth place, after which colours repeat."""

WIDTH = 11.0
"""Inches of a full-width plot: the report's column."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.constrained_layout.h_pad": 0.09,
    "svg.fonttype": "none",
    "text.parse_math": False,  # an objective may be called a$b$
}


def colour(objective: int) -> str:
    """Colour of an objective, as #rrggbb."""
    return OBJECTIVE_COLOURS[objective % len(OBJECTIVE_COLOURS)]


def blend(inks: Sequence[str], shares: npt.ArrayLike) -> str:
    """The colours mixed by their shares, as #rrggbb."""
    channels = np.array([[int(ink[k : k + 2], 16) for k in (1, 3, 5)] for ink in inks])
    red, green, blue = np.rint(np.asarray(shares, dtype=np.float64) @ channels).astype(int).clip(0, 255)
    return f"#{red:02x}{green:02x}{blue:02x}"


def mix(weights: Sequence[float] | npt.NDArray[np.float64]) -> str:
    """The objectives' colours mixed by weight [m]: a vertex is pure, the middle is grey."""
    return blend([colour(j) for j in range(len(weights))], weights)


def clipped(name: str, most: int) -> str:
    """The name, cut to `most` characters where a panel has no more room."""
    return name if len(name) <= most else name[: most - 1] + "\u2026"


def figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, with transparent paper and automatic margins."""
    new = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(new)
    return new


def quiet(axes: Axes, grid: bool = True) -> None:
    """Take from the axes all that is not data: no box, no tick marks, a faint grid behind."""
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(True, color=RULE, linewidth=0.8)


def mark(
    axes: Axes,
    x: float,
    y: float,
    ink: str,
    size: float,
    *,
    gid: str | None = None,
    marker: str = "o",
    hollow: bool = False,
    alpha: float = 1,
) -> None:
    """One measured thing; hollow where it counts less. By its gid, such as point-3, the page finds it again."""
    axes.plot(
        [x],
        [y],
        marker=marker,
        markersize=size,
        color=PAPER if hollow else ink,
        markeredgecolor=ink if hollow else PAPER,
        markeredgewidth=1.3 if hollow else 0.8,
        alpha=alpha,
        linestyle="",
        zorder=4,
        clip_on=False,
        gid=gid,
    )


def base_mark(axes: Axes, x: float, y: float) -> None:
    """The diamond of the base model."""
    axes.plot([x], [y], marker="D", color=PAPER, markeredgecolor=INK, markersize=6, linestyle="", zorder=3)


def base_line(axes: Axes, value: float, upright: bool = False) -> None:
    """The dashed line of the base model."""
    draw = axes.axvline if upright else axes.axhline
    draw(value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def save_png(drawn: Figure, path: Path, dpi: int = 160) -> None:
    """Writes the figure on white paper, whole or not at all."""
    with mpl.rc_context(STYLE), whole_file(path) as temporary:
        drawn.savefig(temporary, format="png", dpi=dpi, facecolor=PAPER)

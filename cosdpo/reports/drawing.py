"""Ink and paper of the plots: colours, panels, label placing, and rendering to PNG files and inline SVG.

One drawing serves both outputs. PNG takes the colours below as they are; inline SVG takes its ink from the page's CSS
variables (--ink, --muted, --rule, --paper, and --lift, by which colours are lightened on dark paper), so that a plot
follows the reader's light or dark mode. Figures are built through matplotlib's object-oriented API on the Agg canvas.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cosdpo.arrays import Floats

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


_MARKER = re.compile(r'<path id="(m\w+)" d="M 0 ([\d.]+)')
_DOT = re.compile(
    r'<g id="point-(\d+)">\s*(?:<defs>.*?</defs>)?\s*'
    r'<g[^>]*>\s*<use xlink:href="#(m\w+)" x="([^"]+)" y="([^"]+)" style="([^"]*)"/>\s*</g>\s*</g>',
    re.DOTALL,
)
"""A round marker as matplotlib writes it: a curve of nine lines, and its use at a place."""


def colour(objective: int) -> str:
    """Colour of an objective, as #rrggbb."""
    return OBJECTIVE_COLOURS[objective % len(OBJECTIVE_COLOURS)]


def mix(weights: Sequence[float] | Floats) -> str:
    """The objectives' colours mixed by weight [m], as #rrggbb: a vertex is pure, the middle is grey."""
    channels = np.array([[int(colour(j)[k : k + 2], 16) for k in (1, 3, 5)] for j in range(len(weights))])
    red, green, blue = np.rint(np.asarray(weights, dtype=np.float64) @ channels).astype(int).clip(0, 255)
    return f"#{red:02x}{green:02x}{blue:02x}"


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


def dot(
    axes: Axes, index: int, x: float, y: float, ink: str, size: float, hollow: bool = False, alpha: float = 1
) -> None:
    """Mark trade-off number `index`; hollow for dominated points. Its gid lets the page find it again."""
    axes.plot(
        [x],
        [y],
        marker="o",
        markersize=size,
        color=PAPER if hollow else ink,
        markeredgecolor=ink if hollow else PAPER,
        markeredgewidth=1.3 if hollow else 0.8,
        alpha=alpha,
        linestyle="",
        zorder=4,
        clip_on=False,
        gid=f"point-{index}",
    )


def label(
    axes: Axes, places: Floats, texts: Sequence[str], colours: Sequence[str], others: Floats | None = None
) -> None:
    """Write a text next to each of `places` [N, 2], inside the axes and away from texts, places and `others` [K, 2].

    Greedy: each text takes the least crowded of 16 spots around its place, the upper right first, which is where a
    front of better values has its free side. Coordinates are the data's; limits and layout must be final.
    """
    pixel = axes.figure.dpi / 72
    size = 7.5
    inner = axes.get_window_extent()
    spots = axes.transData.transform(places)
    taken: list[tuple[float, float, float, float]] = [(x, y, 4 * pixel, 4 * pixel) for x, y in spots]
    if others is not None:
        taken += [(x, y, 2 * pixel, 2 * pixel) for x, y in axes.transData.transform(others)]
    for (x, y), text, ink, place in zip(spots, texts, colours, places, strict=True):
        half_width, half_height = 0.32 * size * len(text) * pixel, 0.6 * size * pixel
        best, least = (0.0, 0.0), np.inf
        for reach in (1.0, 1.8):
            for angle in np.deg2rad([45, 0, 90, -45, 135, 180, -90, -135]):
                dx = np.cos(angle) * (half_width + 6 * pixel * reach)
                dy = np.sin(angle) * (half_height + 6 * pixel * reach)
                overlap = sum(
                    max(0.0, half_width + w - abs(x + dx - cx)) * max(0.0, half_height + h - abs(y + dy - cy))
                    for cx, cy, w, h in taken
                )
                outside = max(0.0, inner.x0 - x - dx + half_width, x + dx + half_width - inner.x1)
                overlap += outside * half_height + (4 * pixel) ** 2 * (reach > 1)
                if overlap < least:
                    best, least = (dx, dy), overlap
        taken.append((x + best[0], y + best[1], half_width, half_height))
        offset = (best[0] / pixel, best[1] / pixel)
        axes.annotate(
            text, tuple(place), offset, textcoords="offset points", ha="center", va="center", size=size, color=ink
        )


def save_png(drawn: Figure, path: Path, dpi: int = 160) -> None:
    """Write the figure on white paper."""
    with mpl.rc_context(STYLE):
        drawn.savefig(path, format="png", dpi=dpi, facecolor=PAPER)


def inline_svg(drawn: Figure, titles: Sequence[str] = (), description: str = "") -> str:
    """The figure as an <svg> element for an HTML page, without links to anything and with live colours.

    The dots of trade-off N become <circle class="point" data-point="N">, artists of gid line-N groups of class "line",
    both with titles[N] as hover text.

    Args:
        titles: hover text of the points, plain text.
        description: what the plot shows, for people who hear the page, plain text.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": description}):  # ids of two plots on one page must differ
        drawn.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    width, height = (72 * float(side) for side in drawn.get_size_inches())

    def title(number: str) -> str:
        return f"<title>{html.escape(titles[int(number)])}</title>" if int(number) < len(titles) else ""

    radii = dict(_MARKER.findall(body))

    def circle(match: re.Match[str]) -> str:
        number, marker, x, y, style = match.groups()
        place = f'cx="{float(x):.1f}" cy="{float(y):.1f}" r="{radii[marker]}"'
        return f'<circle class="point" data-point="{number}" {place} style="{style}">{title(number)}</circle>'

    body = _DOT.sub(circle, body)
    body = re.sub(r'<g id="line-(\d+)">', lambda m: f'<g class="line" data-point="{m[1]}">{title(m[1])}', body)
    body = re.sub(r' id="[A-Za-z_.0-9]+_\d+"', "", body)  # figure_1, axes_1, ... occur in every plot
    body = body.replace("xlink:href", "href").replace("'DejaVu Sans', sans-serif", "var(--sans)")
    for ink, name in ((INK, "ink"), (MUTED, "muted"), (RULE, "rule"), (PAPER, "paper")):
        body = body.replace(ink, f"var(--{name})")
    body = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", r"\1: color-mix(in oklab, \2, white var(--lift))", body)
    name = html.escape(description, quote=True)
    return (
        f'<svg role="img" aria-label="{name}" viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}pt">{body}'
    )

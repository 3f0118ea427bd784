"""A plot of several panels, with the texts beside its points and the hover texts of its marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosdpo.arrays import Floats
from cosdpo.reports import drawing
from cosdpo.reports.drawing import MUTED, STYLE, WIDTH, quiet

TEXT = 7.5
"""Points of a text beside a mark."""


@dataclass
class Names:
    """What is written into one panel, and what it has to keep clear of."""

    places: list[npt.ArrayLike] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    inks: list[str] = field(default_factory=list)
    others: list[npt.ArrayLike] = field(default_factory=list)
    """[K, 2] places that are not named."""


@dataclass
class Sheet:
    """A figure and its panels, row by row."""

    figure: Figure
    panels: list[Axes]
    titles: list[str] = field(default_factory=list)
    """Hover text of the marks point-0, point-1 and so on, where the plot itself numbers them."""
    names: dict[Axes, Names] = field(default_factory=dict)

    def hover(self, title: str) -> str:
        """The gid of the next mark with a hover text."""
        self.titles.append(title)
        return f"point-{len(self.titles) - 1}"

    def name(self, axes: Axes, place: npt.ArrayLike, text: str, ink: str = MUTED) -> None:
        """Have a text written beside a place of the panel, once the layout is settled."""
        names = self.names.setdefault(axes, Names())
        names.places.append(place)
        names.texts.append(text)
        names.inks.append(ink)

    def keep_clear(self, axes: Axes, places: npt.ArrayLike) -> None:
        """Keep the panel's texts away from these places [K, 2]."""
        self.names.setdefault(axes, Names()).others.append(places)


@contextmanager
def panels(
    count: int,
    columns: int,
    height: float,
    *,
    widest: float | None = None,
    extra: float = 0.0,
    key: str = "",
    **sharing: Any,
) -> Iterator[Sheet]:
    """A sheet of `count` empty panels to draw on; at the end its texts are placed.

    Args:
        height: inches of a row; the share of a panel's width where `widest` is given.
        widest: inches of a panel at most; panels fill the whole width by default.
        extra: inches for what stands above and below the panels.
        key: how to read the plot, written under it.
        sharing: sharex and sharey.
    """
    rows, width = -(-count // columns), min(widest or WIDTH, WIDTH / columns)
    with mpl.rc_context(STYLE):
        figure = drawing.figure(width * columns, rows * height * (width if widest else 1) + extra)
        grid = list(figure.subplots(rows, columns, squeeze=False, **sharing).flat)
        for axes in grid[:count]:
            quiet(axes)
        for axes in grid[count:]:
            axes.set_axis_off()
        sheet = Sheet(figure, grid[:count])
        yield sheet
        if key:
            figure.supxlabel(key, size=8, color=MUTED)
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # settled: every file that is saved would find it anew, most of its time
        for axes, names in sheet.names.items():
            _write(axes, np.array(names.places, dtype=np.float64), names.texts, names.inks, names.others)


def _write(
    axes: Axes, places: Floats, texts: Sequence[str], inks: Sequence[str], others: Sequence[npt.ArrayLike]
) -> None:
    """Write a text next to each of `places` [N, 2], inside the axes and away from texts, places and `others`.

    Greedy: each text takes the least crowded of 16 spots around its place, the upper right first, which is where a
    front of better values has its free side. Coordinates are the data's; limits and layout must be final.
    """
    pixel = axes.figure.dpi / 72
    inner = axes.get_window_extent()
    spots = axes.transData.transform(places.reshape(-1, 2))
    taken: list[tuple[float, float, float, float]] = [(x, y, 4 * pixel, 4 * pixel) for x, y in spots]
    for crowd in others:
        taken += [(x, y, 2 * pixel, 2 * pixel) for x, y in axes.transData.transform(crowd)]
    for (x, y), text, ink, place in zip(spots, texts, inks, places, strict=True):
        half_width, half_height = 0.32 * TEXT * len(text) * pixel, 0.6 * TEXT * pixel
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
            text, tuple(place), offset, textcoords="offset points", ha="center", va="center", size=TEXT, color=ink
        )

"""Two values against each other: any number of fronts in a plane, with the base model and the reference point.

Up and right is better everywhere: axes of losses are reversed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from cosdpo.arrays import Booleans, Floats
from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front
from cosdpo.reports.drawing import MUTED, base_mark, clipped, mark
from cosdpo.reports.sheet import Sheet


def axis_name(what: str, metric: str, higher_is_better: bool) -> str:
    """Such as `brevity loss (reversed)`."""
    return f"{clipped(what, 28)} {metric}{'' if higher_is_better else ' (reversed)'}"


@dataclass(frozen=True)
class Plane:
    """Two objectives of one metric."""

    objectives: Sequence[str]
    metric: str
    higher_is_better: bool
    base: npt.ArrayLike
    """[m] values of the base model."""
    reference: npt.ArrayLike
    """[m] reference point of the hypervolume."""
    pair: tuple[int, int]

    @classmethod
    def of(cls, front: Front, name: str, pair: tuple[int, int]) -> Plane:
        """The plane of a front's metric."""
        metric = front.metrics[name]
        return cls(front.objectives, name, metric.higher_is_better, metric.base, metric.reference_point, pair)

    def frame(self, sheet: Sheet, axes: Axes) -> None:
        """Name and turn the axes, and mark and name base and reference point."""
        base, reference = (np.asarray(place)[list(self.pair)] for place in (self.base, self.reference))
        together = np.allclose(base, reference)
        axes.plot(*reference, marker="+", color=MUTED, markersize=9, markeredgewidth=1.4, linestyle="", zorder=3)
        base_mark(axes, *base)
        # Where there are more than two objectives, panels are small and shared by their names.
        sheet.name(axes, base, "base = reference" if together and len(self.objectives) == 2 else "base")
        if not together:
            sheet.name(axes, reference, "reference")
        across, up = (axis_name(self.objectives[j], self.metric, self.higher_is_better) for j in self.pair)
        axes.set(xlabel=across, ylabel=up)
        axes.margins(0.1)
        if not self.higher_is_better:
            axes.invert_xaxis()
            axes.invert_yaxis()

    def shade(self, axes: Axes, gains: Floats) -> None:
        """Shade the hypervolume of two objectives: what lies between the reference point and the gains [N, 2]."""
        sign = 1.0 if self.higher_is_better else -1.0
        corner = sign * np.asarray(self.reference)
        front = gains[indicators.non_dominated(gains)]
        front = front[(front > corner).all(axis=1)]
        if len(front) == 0:
            return
        front = front[np.argsort(front[:, 0])]
        heights = np.append(front[:, 1], corner[1])
        edges = np.concatenate([[corner[0]], front[:, 0]])
        axes.fill_between(
            sign * edges, sign * heights, sign * corner[1], step="post", color=MUTED, alpha=0.12, linewidth=0, zorder=1
        )


def between(axes: Axes, places: Floats, inks: Sequence[str], joined: bool) -> None:
    """What lies between the measured places: [K, 2] joined in their order, or a cloud of small dots."""
    if joined:
        parts = LineCollection(list(np.stack([places[:-1], places[1:]], axis=1)), colors=inks[1:], linewidths=1.6)
        axes.add_collection(parts)
        parts.set(zorder=2, capstyle="round")
    else:
        axes.scatter(places[:, 0], places[:, 1], s=3, c=list(inks), alpha=0.45, linewidths=0, zorder=2)


def trail(
    axes: Axes,
    places: Floats,
    inks: Sequence[str],
    gids: Sequence[str] | None = None,
    *,
    size: float = 7.5,
    line: str | None = None,
    width: float = 1.1,
    alpha: float = 0.7,
    hollow: Booleans | None = None,
    marker: str = "o",
) -> None:
    """Measured places [N, 2] in their order.

    Args:
        gids: by which the page finds the marks; point-0, point-1 and so on by default.
        line: colour of the line through the places, with its `width` and `alpha`; None draws none.
        hollow: [N] which marks are hollow, such as those of dominated points.
    """
    if line is not None:
        axes.plot(*places.T, color=line, linewidth=width, alpha=alpha, zorder=2, solid_capstyle="round")
    for i, (x, y) in enumerate(places):
        gid = f"point-{i}" if gids is None else gids[i]
        mark(axes, x, y, inks[i], size, gid=gid, marker=marker, hollow=hollow is not None and bool(hollow[i]))

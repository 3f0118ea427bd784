"""One query ranked along the trade-off: what a reader sees move when the weights move."""

from __future__ import annotations

from dataclasses import dataclass

from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.numbers import short
from cosdpo.evaluation.samples import Ranking
from cosdpo.reports.drawing import colour

RELEVANCE = "relevance"
"""Name of the main label where the front does not name one."""

RANKS = 10
"""Ranks shown."""


@dataclass(frozen=True)
class RankedDocument:
    """A document at its rank."""

    number: int
    name: str
    bars: list[tuple[str, float]]
    """Its labels: colour in CSS, and height from 0 to 1, the largest of the query."""
    title: str
    """The labels as hover text."""


@dataclass(frozen=True)
class Columns:
    """A ranking ready to be drawn: weights of the columns, and a row per rank, None where an order has ended."""

    query: str
    labels: list[tuple[str, str]]
    """Name and colour of every bar of a document, in their order."""
    weights: list[list[float]]
    rows: list[list[RankedDocument | None]]


def columns(ranking: Ranking, front: Front) -> Columns:
    """The ranking as columns of trade-offs and rows of ranks; a bar is as high as its label / the query's largest.

    Raises:
        InputError: an order has not one weight per objective, or a label belongs to nothing in the front.
    """
    inks = {name: colour(j) for j, name in enumerate(front.objectives)}
    inks |= {front.main.name if front.main else RELEVANCE: "var(--ink)"}
    if strange := [name for name in ranking.labels if name not in inks]:
        raise InputError(f"labels of {strange[0]!r} in query {ranking.query!r}: give one of {', '.join(inks)}")
    if any(len(order.weights) != len(front.objectives) for order in ranking.orders):
        raise InputError(f"orders of query {ranking.query!r} need {len(front.objectives)} weights each")
    shown = {name: ink for name, ink in inks.items() if name in ranking.labels}
    largest = {name: max(ranking.labels[name], default=0.0) or 1.0 for name in shown}

    def ranked(document: int) -> RankedDocument:
        labels = {name: ranking.labels[name][document] for name in shown}
        return RankedDocument(
            number=document,
            name=ranking.documents[document],
            bars=[(shown[name], value / largest[name]) for name, value in labels.items()],
            title=", ".join(f"{name} {short(value)}" for name, value in labels.items()),
        )

    depth = min(RANKS, max((len(order.order) for order in ranking.orders), default=0))
    return Columns(
        query=ranking.query,
        labels=list(shown.items()),
        weights=[order.weights for order in ranking.orders],
        rows=[
            [ranked(order.order[rank]) if rank < len(order.order) else None for order in ranking.orders]
            for rank in range(depth)
        ],
    )

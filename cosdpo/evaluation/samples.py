"""What a reader sees move when the weights move: a prompt answered, or a query ranked, along the trade-off."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Label = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]


class Answer(BaseModel):
    """What the model said at one trade-off."""

    model_config = ConfigDict(extra="forbid")

    weights: list[float]
    """[m] Importance of the objectives."""
    temperature: list[float]
    """[m] DPO temperature of each objective."""
    text: str
    scores: dict[str, float] = {}
    """Scores of the text by name, where scorers are configured."""


class Sample(BaseModel):
    """One prompt and its answers along the trade-off."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    answers: list[Answer]


class Order(BaseModel):
    """The best documents at one trade-off."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    weights: list[float]
    """[m] Importance of the objectives."""
    order: list[Index]
    """Documents by number, from 0, best first; the first 10 are shown."""


class Ranking(BaseModel):
    """One query and the order of its documents at several trade-offs."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    query: str
    """What the page calls the query."""
    documents: list[str]
    """[n] Short names, such as doc 12."""
    labels: dict[str, list[Label]]
    """[n] labels by objective, and of the main objective by its name (relevance); not all need be there."""
    orders: list[Order]
    """The orders, in the order of the columns."""

    @model_validator(mode="after")
    def _documents(self) -> Self:
        n = len(self.documents)
        for name, labels in self.labels.items():
            if len(labels) != n:
                raise ValueError(f"labels.{name} has {len(labels)} numbers for {n} documents")
        for i, order in enumerate(self.orders):
            if any(document >= n for document in order.order) or len(set(order.order)) != len(order.order):
                raise ValueError(f"orders[{i}] must name documents from 0 to {n - 1}, each once")
        return self

"""The model card of a run on the hub, from hub_card.md.j2: what was trained on what, its front, and how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from cosdpo import __version__
from cosdpo.data.containers import on_hub
from cosdpo.data.sources import by_objective
from cosdpo.errors import masked
from cosdpo.evaluation.front import Front, main_metric
from cosdpo.models.cards import LanguageCard, RankingCard

PICTURE = "front.png"
_TEMPLATE = Path(__file__).with_name("hub_card.md.j2")
_KIND_OF_TASK = {"language": "text-generation", "ranking": "text-ranking"}


@dataclass(frozen=True)
class Shared:
    """What a model card tells of."""

    name: str
    """OWNER/NAME."""
    card: LanguageCard | RankingCard
    base: str
    """The base's name on the hub, empty where it has none."""
    licence: Mapping[str, Any]
    """As in the metadata of cards."""
    front: Front | None
    data: str
    """data.train of the run, empty where it is not known."""
    pictured: bool
    """Whether there is a picture of the front."""


def model_card(shared: Shared) -> ModelCard:
    """The card with its metadata."""
    card, front = shared.card, shared.front.at(1) if shared.front else None
    language = isinstance(card, LanguageCard)
    sources = list(by_objective(shared.data).values()) or [shared.data] if shared.data else []
    repositories = list(dict.fromkeys(_repository(source) for source in sources if language and on_hub(source)))
    data = [source if language and on_hub(source) else Path(masked(source)).name for source in sources]
    kind = _KIND_OF_TASK[card.task]
    ends = list(_ends(front, kind, (repositories or ["unknown"])[0], ", ".join(data))) if front and data else None
    metadata = ModelCardData(
        model_name=shared.name if ends else None,
        base_model=shared.base or None,
        datasets=repositories or None,
        library_name="cosdpo",
        pipeline_tag=kind,
        tags=["cosdpo", "dpo", "multi-objective", "pareto-front"],
        eval_results=ends,
        **shared.licence,
    )
    shares = [0.7, *[round(0.3 / max(1, len(card.objectives) - 1), 3)] * (len(card.objectives) - 1)]
    made: ModelCard = ModelCard.from_template(
        metadata,
        template_path=str(_TEMPLATE),
        version=__version__,
        shared=shared,
        card=card,
        names=[name.replace("|", "\\|") for name in card.objectives],  # as the cells of a table have them
        language=language,
        data=data,
        front=front,
        metric=main_metric(front) if front else "",
        weights=dict(zip(card.objectives, shares, strict=True)),
    )
    return made


def _ends(front: Front, kind: str, dataset: str, name: str) -> Iterator[EvalResult]:
    """What every objective comes to where it has all of the weight."""
    for point in front.points:
        for j, objective in enumerate(front.objectives):
            if point.weights[j] == 1:
                for metric, values in point.values.items():
                    yield EvalResult(
                        task_type=kind,
                        dataset_type=dataset,
                        dataset_name=name,
                        metric_type=metric,
                        metric_name=f"{metric} of {objective} where it weighs 1",
                        metric_value=round(values[j], 6),
                    )


def _repository(source: str) -> str:
    """Such as OWNER/NAME of OWNER/NAME/FOLDER:SPLIT."""
    return "/".join(source.partition(":")[0].split("/")[:2])

"""What the service reads of a checkpoint besides the model: its task, its id, its front and an example.

Only safetensors and JSON are read. A folder with a pickle in it is refused, whatever else it holds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, front_path
from cosdpo.models.adapter_settings import adapter_file
from cosdpo.models.cards import CARD, ConditionedCard, LanguageCard, RankingCard
from serve.http.schema import ModelSent

Task = Literal["language", "ranking"]
SERVED: Mapping[Task, type[ConditionedCard]] = {"language": LanguageCard, "ranking": RankingCard}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")


def task_of(folder: Path) -> Task:
    """What the checkpoint in `folder` does.

    Raises:
        InputError: no checkpoint, not a conditioned one, or not of safetensors.
    """
    try:
        task = json.loads((folder / CARD).read_bytes())["task"]
    except (OSError, ValueError, KeyError, TypeError):
        near = folder / "checkpoint"
        mend = f"give {near}" if (near / CARD).exists() else "give the checkpoint folder of a run"
        raise InputError(f"checkpoint {folder} has no readable {CARD}; {mend}") from None
    served = next((known for known in SERVED if known == task), None)
    if served is None:
        raise InputError(f"checkpoint {folder} is that of a {task} model; give one with trade-offs")
    if pickle := next((path for pattern in PICKLES for path in folder.glob(pattern)), None):
        raise InputError(f"checkpoint {folder} holds {pickle.name}, perhaps a pickle; only safetensors are served")
    if missing := [name for name in SERVED[served].files if not adapter_file(folder, name).is_file()]:
        raise InputError(f"checkpoint {folder} lacks {missing[0]}; give a whole checkpoint")
    return served


def check(folder: Path, base: str = "") -> Task:
    """What the checkpoint in `folder` does, after reading all of it, and of a language model's base the configuration.

    Raises:
        InputError: it cannot be served.
    """
    task = task_of(folder)
    if task == "language":
        from cosdpo.models.language_scorer import LanguageScorer

        LanguageScorer.check(folder, base)
    else:
        from cosdpo.models.ranking_scorer import RankingScorer

        RankingScorer.load(folder)
    return task


def described(
    folder: Path, card: LanguageCard | RankingCard, name: str, smallest_ratio: float, context: int | None = None
) -> ModelSent:
    """What is served of the checkpoint in `folder` with this card.

    Args:
        smallest_ratio: of a request's to the trained temperature; 0 where any is answered.
        context: tokens that the model reads; None for rankers.
    """
    smallest = smallest_ratio * sum(card.trained_temperature) / len(card.trained_temperature)
    return ModelSent(
        id=identity(folder, name),
        created=created(folder),
        max_model_len=context,
        task=card.task,
        objectives=card.objectives,
        trained_temperature=card.trained_temperature,
        temperature_conditioned=card.temperature_conditioned,
        scope=card.scope if isinstance(card, LanguageCard) else None,
        smallest_temperature=float(f"{smallest:.12g}") if smallest else None,
    )


def identity(folder: Path, name: str = "") -> str:
    """The checkpoint's id: its name, and the beginning of the SHA-256 of its files.

    Args:
        name: what it is called; the run folder's name by default.
    """
    place = folder.resolve()
    called = name or (place.parent.name if place.name == "checkpoint" else place.name)
    clean = re.sub(r"[^A-Za-z0-9._]+", "-", called).strip("-.") or "checkpoint"
    digest = hashlib.sha256()
    for path in sorted([*place.glob("*.safetensors"), *place.glob("*.json")]):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return f"{clean[:48]}-{digest.hexdigest()[:12]}"


def created(folder: Path) -> int:
    """When the checkpoint was written, in seconds since 1970."""
    return int((folder / CARD).stat().st_mtime)


def front(folder: Path) -> Front | None:
    """The front of the run that the checkpoint belongs to; None where it has none that can be read."""
    try:
        return Front.load(front_path(folder))
    except InputError:
        return None


def example_prompt(folder: Path, template: str) -> str | None:
    """A prompt that the run's report answers, without the template around it; None where the run has none."""
    try:
        prompt = json.loads((folder.resolve().parent / "samples.json").read_bytes())[0]["prompt"]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    if not isinstance(prompt, str):
        return None
    before, _, after = template.partition("{prompt}")
    return prompt.removeprefix(before).removesuffix(after)


def example_features(folder: Path, width: int) -> list[list[float]] | None:
    """Documents of a query that the run held out, [n][width]; None where the run has none."""
    try:
        rows = json.loads((folder.resolve().parent / "example.json").read_bytes())["features"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) and all(isinstance(row, list) and len(row) == width for row in rows) else None

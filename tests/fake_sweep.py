"""A made-up sweep whose trials are known: hypervolume is `quality` squared, half of that along the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cosdpo.config import Config
from cosdpo.evaluation.front import Front, Measured, build
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.sweep_result import SweepResult
from cosdpo.experiment.sweep.targets import measured_values, targets
from cosdpo.simplex import das_dennis


class NoTask:
    """Stands for the data that a made-up sweep never had."""

    notes: Mapping[str, int] = {"rows without a label": 2}

    def facts(self) -> dict[str, str | int | float]:
        return {"base": "made up"}


def configuration(folder: Path, **sweep: object) -> Config:
    space = {
        "temperature": "loguniform(0.1, 1)",
        "model.gates": "choice(affine, quadratic)",
        "model.lora_rank": "int(4, 8)",
    }
    return Config.model_validate(
        {
            "output": folder,
            "objectives": ["kind", "brief"],
            "training": {"steps": 40},
            "sweep": {"space": space, **sweep},
        }
    )


def front(quality: float, seconds: float = 3.0, parameters: int = 100) -> Front:
    weights = das_dennis(2, 4)
    return build(
        method="cos",
        task="language",
        objectives=["kind", "brief"],
        seed=0,
        trained_temperature=0.1,
        train_seconds=seconds,
        trained_parameters=parameters,
        weights=weights,
        metrics={
            "accuracy": Measured(0.5 + 0.4 * quality * weights**0.5, [0.5, 0.5], [0.5, 0.5]),
            "loss": Measured(0.7 - 0.3 * quality * weights**0.5, [0.7, 0.7], [0.7, 0.7], higher_is_better=False),
        },
    )


def sweep_result(
    folder: Path, qualities: Sequence[float], stopped: Sequence[int] = (), failed: Sequence[int] = (), **sweep: object
) -> SweepResult:
    """Trials of these qualities; those numbered in `stopped` ended at step 20, those in `failed` measured nothing."""
    config = configuration(folder, **sweep)
    trials, fronts = [], {}
    for number, quality in enumerate(qualities):
        half, whole = front(quality / 2), front(quality, parameters=100 + number)
        history = [{"step": 20.0} | measured_values(half), {"step": 40.0} | measured_values(whole)]
        state = "stopped" if number in stopped else "failed" if number in failed else "finished"
        name = f"trial-{number:02d}"
        trials.append(
            Record(
                name=name,
                started=float(number),
                settings={
                    "temperature": 0.1 + 0.8 * quality,
                    "model.gates": ("affine", "quadratic")[number % 2],
                    "model.lora_rank": 4 + number % 5,
                },
                steps=40,
                state=state,
                reason="the loss is not finite" if state == "failed" else "",
                history=history[: {"finished": 2, "stopped": 1, "failed": 0}[state]],
            )
        )
        if state != "failed":
            fronts[name] = whole if state == "finished" else half
    return SweepResult(config, targets(config), NoTask(), trials, fronts)  # type: ignore[arg-type]

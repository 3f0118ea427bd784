"""report.html, front.png and front-temperature.png of a run: to be read by a person and shown to a colleague.

The page reads on paper, in light and dark, and without scripts; with them, a slider walks along the front. run.html.j2
holds the page and run.js.j2 its slider.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.errors import InputError
from cosdpo.evaluation import indicators
from cosdpo.evaluation.choosing import Choices
from cosdpo.evaluation.front import Front, main_metric
from cosdpo.evaluation.numbers import listed
from cosdpo.evaluation.samples import Sample
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.reports.curves import steering_sheet, training_sheet
from cosdpo.reports.drawing import colour, save_png
from cosdpo.reports.front_plot import front_sheet, places, point_title
from cosdpo.reports.inline_svg import inline_svg
from cosdpo.reports.narrative import findings, headline
from cosdpo.reports.page import write_page
from cosdpo.reports.price import price_sheet
from cosdpo.reports.ranking_columns import columns
from cosdpo.reports.temperature_plot import has_temperatures, temperature_sheet
from cosdpo.training.tracking import read_metrics

FRONT, TEMPERATURES = "front.png", "front-temperature.png"


def write_run(result: RunResult, command: str | None = None) -> Path:
    """Writes the pictures and report.html into the run folder, whose metrics.jsonl it reads; returns the page's path.

    Args:
        command: what to type to get this run again; the command line of this process by default.

    Raises:
        InputError: an answer has not one weight and one temperature per objective, or a ranking not one weight, or
            labels of something that is neither an objective nor the main objective.
    """
    every_temperature, front, output = result.front, result.front.at(1), result.config.output
    _check(result.samples, front)
    ranked = [columns(ranking, front) for ranking in result.rankings]
    titles = [point_title(front, index) for index in range(len(front.points))]
    drawn = plane = front_sheet(front)
    save_png(drawn.figure, output / FRONT)
    plots = {
        "front": inline_svg(drawn, f"Front over {listed(front.objectives)}", titles),
        "steering": inline_svg(steering_sheet(front), "Each metric against its weight", titles),
    }
    if front.main:
        plots["price"] = inline_svg(price_sheet(front, front.main), "The main objective along the front", titles)
    family = []
    if every_temperature.main and has_temperatures(every_temperature):
        family = [(c, every_temperature.at(c)) for c in every_temperature.ratios]
        drawn = temperature_sheet(every_temperature, every_temperature.main)
        save_png(drawn.figure, output / TEMPERATURES)
        all_titles = [point_title(every_temperature, index) for index in range(len(every_temperature.points))]
        plots["temperature"] = inline_svg(drawn, "The front at several temperatures", all_titles)
    if training := training_sheet(read_metrics(output), front.objectives):
        plots["training"] = inline_svg(training, "Course of the training")
    trained = front.trained_temperature
    return write_page(
        result.config,
        "run.html.j2",
        command,
        front=front,
        headline=headline(front),
        findings=findings(front),
        leading=main_metric(front),
        main=front.main,
        main_best=int(front.main.gains.argmax()) if front.main else None,
        colours=[colour(j) for j in range(len(front.objectives))],
        base_parameters=result.facts.get("base_parameters"),
        best={name: front.gains(name).argmax(axis=0).tolist() for name in front.metrics},
        dominated={name: (~indicators.non_dominated(front.gains(name))).tolist() for name in front.metrics},
        trained_temperature=trained if isinstance(trained, list) else [trained] * len(front.objectives),
        plots=plots,
        family=family,
        samples=result.samples,
        rankings=ranked,
        data=_data(every_temperature, result.samples) | {"planes": places(front, plane), "choices": _choices(front)},
        facts={key: value for key, value in result.facts.items() if key != "base_parameters"},
        dropped=result.dropped,
    )


def _check(samples: Sequence[Sample], front: Front) -> None:
    for sample in samples:
        for answer in sample.answers:
            if {len(answer.weights), len(answer.temperature)} != {len(front.objectives)}:
                raise InputError(
                    f"answers to {sample.prompt[:40]!r} need {len(front.objectives)} weights and temperatures each"
                )


def _choices(front: Front) -> dict[str, object]:
    """What the page chooses among, by metric: the curve, or what lies between the points of a front without one."""

    def digits(table: Floats) -> list[list[float | None]]:
        return [[float(f"{x:.5g}") if np.isfinite(x) else None for x in row] for row in table.tolist()]

    found: dict[str, object] = {}
    for name in front.metrics:
        known = Choices.of(front, name)
        if front.curve is None or name not in front.curve.metrics:
            known = known.between()
        found[name] = {
            "names": known.names,
            "better": known.better.tolist(),
            "weights": digits(known.weights),
            "values": digits(known.values),
            "deviations": digits(known.deviations),
        }
    return found


def _data(front: Front, samples: Sequence[Sample]) -> dict[str, object]:
    """What the page's script needs: points, the range of every metric and of the main objective, and the answers."""
    ranges = {}
    for name, metric in front.metrics.items():
        sign = 1 if metric.higher_is_better else -1
        measured = np.vstack([front.gains(name), sign * np.array(metric.base)])
        ranges[name] = {
            "base": metric.base,
            "worst": (sign * measured.min(axis=0)).tolist(),
            "best": (sign * measured.max(axis=0)).tolist(),
        }
    main = front.main
    if main is not None:
        ends = min(main.base, *main.values), max(main.base, *main.values)
        worst, best = ends if main.higher_is_better else ends[::-1]
    return {
        "objectives": front.objectives,
        "colours": [colour(j) for j in range(len(front.objectives))],
        "metrics": ranges,
        "main": main and {"name": main.name, "metric": main.metric, "base": main.base, "worst": worst, "best": best},
        "points": [{**point.model_dump(), "main": main and main.values[i]} for i, point in enumerate(front.points)],
        "temperatures": [front.at(c).points[0].temperature for c in front.ratios],
        "trained": front.ratios.index(1),
        "samples": [sample.model_dump() for sample in samples],
    }

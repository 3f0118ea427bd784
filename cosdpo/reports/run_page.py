"""report.html: one page on one run, to be read by a person and shown to a colleague.

The page is a single file: style, script, plots and data are inside it, and its own content security policy forbids the
browser to load anything else. It reads on paper, in light and dark, and without scripts; with them, a slider walks
along the front. `report.html.j2` holds the page, `report.css.j2` and `report.js.j2` its looks and its slider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from cosdpo.errors import InputError
from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front, main_metric
from cosdpo.evaluation.numbers import listed, number, over_folds, short
from cosdpo.evaluation.samples import Ranking, Sample
from cosdpo.reports.curves import steering_figure, training_figure
from cosdpo.reports.drawing import colour, inline_svg
from cosdpo.reports.front_plot import front_figure
from cosdpo.reports.narrative import findings, headline
from cosdpo.reports.page import page_environment
from cosdpo.reports.price import price_figure
from cosdpo.reports.ranking_columns import columns
from cosdpo.reports.temperature_plot import has_temperatures, temperature_figure

PAPER = "https://arxiv.org/abs/2410.08316"


def write_report(
    folder: Path,
    front: Front,
    samples: Sequence[Sample],
    metrics: Sequence[Mapping[str, float]],
    config_yaml: str,
    command: str,
    notes: Mapping[str, str | int | float],
    dropped: Mapping[str, int] | None = None,
    rankings: Sequence[Ranking] = (),
) -> Path:
    """Write report.html into `folder` and return its path.

    Args:
        samples: prompts answered at several trade-offs; may be empty.
        metrics: lines of metrics.jsonl in order; may be empty.
        config_yaml: the resolved configuration.
        command: what to type to get this run again.
        notes: further facts to list, such as the base model or the device. `base_parameters`, when given, is set
            against the trained parameters.
        dropped: reason -> data rows dropped; None where no data was read.
        rankings: queries ranked at several trade-offs; may be empty.

    Raises:
        InputError: an answer has not one weight and one temperature per objective, or a ranking not one weight, or
            labels of something that is neither an objective nor the main objective.
    """
    for sample in samples:
        for answer in sample.answers:
            if {len(answer.weights), len(answer.temperature)} != {len(front.objectives)}:
                raise InputError(
                    f"answers to {sample.prompt[:40]!r} need {len(front.objectives)} weights and temperatures each"
                )
    ranked = [columns(ranking, front) for ranking in rankings]
    environment = page_environment(Path(__file__).parent, {"over_folds": over_folds})
    whole, front = front, front.at(1)  # what follows, but for one section, is about the trained temperature
    family = [(c, whole.at(c)) for c in whole.ratios] if has_temperatures(whole) else []
    temperature = temperature_figure(whole, whole.main) if whole.main and family else None
    training = training_figure(metrics, front.objectives)
    price = price_figure(front, front.main) if front.main else None
    titles = [_title(front, index) for index in range(len(front.points))]
    all_titles = [_title(whole, index) for index in range(len(whole.points))]
    page = environment.get_template("run.html.j2").render(
        front=front,
        headline=headline(front),
        findings=findings(front),
        leading=main_metric(front),
        main=front.main,
        main_best=int(front.main.gains.argmax()) if front.main else None,
        colours=[colour(j) for j in range(len(front.objectives))],
        base_parameters=notes.get("base_parameters"),
        best={name: front.gains(name).argmax(axis=0).tolist() for name in front.metrics},
        dominated={name: (~indicators.non_dominated(front.gains(name))).tolist() for name in front.metrics},
        trained_temperature=_temperature(front),
        front_plot=Markup(inline_svg(front_figure(front), titles, f"Front over {listed(front.objectives)}")),
        steering_plot=Markup(inline_svg(steering_figure(front), titles, "Each metric against its weight")),
        price_plot=Markup(inline_svg(price, titles, "The main objective along the front")) if price else None,
        temperature_plot=Markup(inline_svg(temperature, all_titles, "The front at several temperatures"))
        if temperature
        else None,
        family=family,
        training_plot=Markup(inline_svg(training, (), "Course of the training")) if training else None,
        samples=samples,
        rankings=ranked,
        data=_data(whole, samples),
        config_yaml=config_yaml.strip(),
        command=command,
        notes={key.replace("_", " "): value for key, value in notes.items() if key != "base_parameters"},
        dropped=dropped,
        paper=PAPER,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _temperature(front: Front) -> list[float]:
    """[m] trained temperature of every objective."""
    trained = front.trained_temperature
    return trained if isinstance(trained, list) else [trained] * len(front.objectives)


def _title(front: Front, index: int) -> str:
    """Hover text of a point: its weights, its temperature where there are several, and all it measured."""
    point = front.points[index]
    lines = [", ".join(f"{name} {short(w)}" for name, w in zip(front.objectives, point.weights, strict=True))]
    if len(front.ratios) > 1:
        lines.append(f"temperature {', '.join(short(beta) for beta in dict.fromkeys(point.temperature))}")
    for metric, values in point.values.items():
        lines.append(f"{metric}: " + ", ".join(number(value) for value in values))
    if front.main is not None:
        lines.append(f"{front.main.name} {front.main.metric}: {number(front.main.values[index])}")
    return "\n".join(lines)


def _data(front: Front, samples: Sequence[Sample]) -> dict[str, object]:
    """What the page's script needs: points, the range of every metric and of the main objective, and the answers."""
    ranges = {}
    for name, metric in front.metrics.items():
        known = np.vstack([front.gains(name), np.array(metric.base) * (1 if metric.higher_is_better else -1)])
        sign = 1 if metric.higher_is_better else -1
        ranges[name] = {
            "base": metric.base,
            "worst": (sign * known.min(axis=0)).tolist(),
            "best": (sign * known.max(axis=0)).tolist(),
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
        "points": [
            {
                "weights": point.weights,
                "temperature": point.temperature,
                "values": point.values,
                "main": main and main.values[i],
            }
            for i, point in enumerate(front.points)
        ],
        "temperatures": [front.at(c).points[0].temperature for c in front.ratios],
        "trained": front.ratios.index(1),
        "samples": [sample.model_dump() for sample in samples],
    }


def write_run(result, command=None):
    import shlex
    import sys

    from cosdpo.cli.yaml_file import to_yaml
    from cosdpo.reports.front_plot import write_front_png
    from cosdpo.training.tracking import read_metrics

    config, front = result.config, result.front
    write_front_png(front.at(1), config.output / "front.png")
    return write_report(
        config.output,
        front,
        metrics=read_metrics(config.output),
        config_yaml=to_yaml(config),
        command=command or shlex.join(["python", *sys.argv]),
        notes=result.facts,
        dropped=result.dropped,
        samples=result.samples,
        rankings=result.rankings,
    )

"""The files of a comparison: comparison.json, points.parquet, three plots, and report.html.

The page is a single file that loads nothing and runs nothing: style, plots and figures are inside it, and its content
security policy forbids everything else. It looks like the report of a run, whose style sheet it uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from cosdpo.experiment.results.by_weight import table
from cosdpo.experiment.results.points import write_points
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.statistics import difference, over_seeds, written
from cosdpo.experiment.results.summary import Comparison, MethodSummary, of_budget, summarise
from cosdpo.files import whole_file
from cosdpo.reports import run_page as run_report
from cosdpo.reports.comparison_fronts import fronts_figure
from cosdpo.reports.drawing import inline_svg, save_png
from cosdpo.reports.method_marks import marks
from cosdpo.reports.page import page_environment
from cosdpo.reports.verdict import beaten, duel, findings, headline, rivals, subject
from cosdpo.reports.volumes import hypervolume_figure, time_figure

DATA, POINTS, PAGE = "comparison.json", "points.parquet", "report.html"
PLOTS = ("fronts.png", "hypervolume.png", "hypervolume_time.png")


def write_comparison(
    folder: Path,
    results: Sequence[Result],
    facts: Mapping[str, str | int | float],
    config_yaml: str,
    command: str,
    failures: Mapping[str, str],
) -> Path:
    """Write all files of a comparison into `folder`, which exists, and return the path of report.html.

    The figures come first and the plots after them: what was measured is never lost to a plot.

    Args:
        results: fronts of all methods, seeds and budgets; methods are listed in their order of appearance.
        facts: how it was measured, such as the base model or the device.
        config_yaml: the resolved configuration.
        command: what to type to get this comparison again.
        failures: what has no result, such as `modpo, seed 2`, with the reason.

    Raises:
        InputError: nothing was measured with full steps, or results do not belong together.
    """
    comparison = summarise(results, failures)
    comparison.save(folder / DATA)
    write_points(results, folder / POINTS)
    drawn = (
        fronts_figure(comparison, of_budget(results, "steps")),
        hypervolume_figure(comparison),
        time_figure(comparison),
    )
    for name, (figure, _) in zip(PLOTS, drawn, strict=True):
        save_png(figure, folder / name)
    plots = [_svg(name, *one) for name, one in zip(PLOTS, drawn, strict=True)]
    page = _page(comparison, results, facts, config_yaml, command, plots)
    with whole_file(folder / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / PAGE


def _page(
    comparison: Comparison,
    results: Sequence[Result],
    facts: Mapping[str, str | int | float],
    config_yaml: str,
    command: str,
    plots: Sequence[Markup],
) -> str:
    own, others, leading = subject(comparison), rivals(comparison), comparison.main_metric
    steps = of_budget(results, "steps")
    by_weight = {name: table(steps, name, own, others) for name in comparison.higher_is_better}
    environment = page_environment(Path(__file__).parent, {"over_seeds": over_seeds, "memory": _memory})
    methods = list(dict.fromkeys([*comparison.methods, *comparison.equal_time]))
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        headline=headline(comparison),
        findings=findings(comparison, by_weight[leading]),
        leading=leading,
        metrics=[leading, *(name for name in comparison.higher_is_better if name != leading)],
        own=own,
        points=max(len(result.front.points) for result in results),
        duel=duel(comparison, leading),
        main=next((one.main for one in comparison.methods.values() if one.main), None),
        inks={name: mark.ink for name, mark in marks(methods).items()},
        standing=lambda methods, name, metric: _standing(methods, own, name, metric),
        fronts_plot=plots[0],
        hypervolume_plot=plots[1],
        time_plot=plots[2],
        written=written,
        by_weight=by_weight if len(comparison.objectives) == 2 else {},
        beaten={name: beaten(comparison, rows) for name, rows in by_weight.items()},
        facts={key.replace("_", " "): value for key, value in facts.items()},
        config_yaml=config_yaml.strip(),
        command=command,
        paper=run_report.PAPER,
    )


def _svg(name: str, drawn: Figure, titles: Sequence[str]) -> Markup:
    """The plot for the page, its marks with hover texts."""
    described = {
        "fronts.png": "Fronts of all methods",
        "hypervolume.png": "Hypervolume of all methods",
        "hypervolume_time.png": "Hypervolume against training time",
    }[name]
    return Markup(
        inline_svg(drawn, titles, described).replace('<g class="line" data-point=', '<g class="mark" data-mark=')
    )


def _standing(methods: Mapping[str, MethodSummary], own: str, name: str, metric: str) -> tuple[str, str]:
    """A method's mean hypervolume over the subject's, and what the deviation says of it."""
    if own not in methods:
        return "", ""
    found = difference(methods[name].volumes(metric), methods[own].volumes(metric))
    words = {"within": "within deviation", "unknown": ""}
    return "\u2013" if found.ratio is None else f"{found.ratio:.2f}", words.get(found.standing, found.standing)


def _memory(size: int) -> str:
    """Bytes as people read them: 812 MiB, 2.1 GiB."""
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"

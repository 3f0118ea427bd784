"""report.html and the three plots of a comparison. The page runs nothing; comparison.html.j2 holds it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cosdpo.experiment.results.by_weight import table
from cosdpo.experiment.results.comparison_result import DATA, POINTS, ComparisonResult
from cosdpo.experiment.results.statistics import difference, written
from cosdpo.experiment.results.summary import MethodSummary, of_budget
from cosdpo.reports.comparison_fronts import fronts_sheet
from cosdpo.reports.drawing import save_png
from cosdpo.reports.inline_svg import inline_svg
from cosdpo.reports.method_marks import looks
from cosdpo.reports.page import write_page
from cosdpo.reports.verdict import beaten, duel, findings, headline, rivals, subject
from cosdpo.reports.volumes import hypervolume_sheet, time_sheet


def write_comparison(result: ComparisonResult, command: str | None = None) -> Path:
    """Writes fronts.png, hypervolume.png, hypervolume_time.png and report.html; returns the page's path.

    Args:
        command: what to type to get this comparison again; the command line of this process by default.
    """
    comparison, steps = result.comparison, of_budget(result.results, "steps")
    sheets = {
        "fronts": (fronts_sheet(comparison, steps), "Fronts of all methods"),
        "hypervolume": (hypervolume_sheet(comparison), "Hypervolume of all methods"),
        "hypervolume_time": (time_sheet(comparison), "Hypervolume against training time"),
    }
    for name, (sheet, _) in sheets.items():
        save_png(sheet.figure, result.config.output / f"{name}.png")
    own, leading = subject(comparison), comparison.main_metric
    by_weight = {name: table(steps, name, own, rivals(comparison)) for name in comparison.higher_is_better}
    methods = list(dict.fromkeys([*comparison.methods, *comparison.equal_time]))
    return write_page(
        result.config,
        "comparison.html.j2",
        command,
        comparison=comparison,
        headline=headline(comparison),
        findings=findings(comparison, by_weight[leading]),
        leading=leading,
        metrics=[leading, *(name for name in comparison.higher_is_better if name != leading)],
        own=own,
        points=max(len(measured.front.points) for measured in result.results),
        duel=duel(comparison, leading),
        main=next((summary.main for summary in comparison.methods.values() if summary.main), None),
        inks={name: look.ink for name, look in looks(methods).items()},
        standing=lambda summaries, name, metric: _standing(summaries, own, name, metric),
        plots={name: inline_svg(*described) for name, described in sheets.items()},
        written=written,
        by_weight=by_weight if len(comparison.objectives) == 2 else {},
        beaten={name: beaten(comparison, rows) for name, rows in by_weight.items()},
        facts=result.facts,
        files={DATA: "all figures of this page", POINTS: "every trade-off of every method and seed"},
    )


def _standing(methods: Mapping[str, MethodSummary], own: str, name: str, metric: str) -> tuple[str, str]:
    """A method's mean hypervolume over the subject's, and what the deviation says of it."""
    if own not in methods:
        return "", ""
    against = difference(methods[name].volumes(metric), methods[own].volumes(metric))
    words = {"within": "within deviation", "unknown": ""}
    ratio = "\u2013" if against.ratio is None else f"{against.ratio:.2f}"
    return ratio, words.get(against.standing, against.standing)

"""report.html and scores.png of a build: how the answers were scored, where objectives disagree, and some to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.evaluation.numbers import count, listed, number, seconds, short
from cosdpo.experiment.results.build_result import BuildResult, BuiltRound
from cosdpo.reports.drawing import MUTED, clipped, colour, save_png
from cosdpo.reports.inline_svg import inline_svg
from cosdpo.reports.page import write_page
from cosdpo.reports.planes import Plane, trail
from cosdpo.reports.sheet import Sheet, panels

SCORES, FRONTS = "scores.png", "fronts.png"
BINS = 24
EXAMPLES = 4
"""Prompts whose answers are shown."""
METRIC = "reward"


def write_build(result: BuildResult, command: str | None = None) -> Path:
    """Writes the pictures and report.html into the folder; returns the page's path.

    Args:
        command: what to type to get it again; the command line of this process by default.
    """
    output, rounds = result.config.output, result.rounds
    drawn = scores_sheet(rounds)
    save_png(drawn.figure, output / SCORES)
    plots = {"scores": inline_svg(drawn, "Scores of the answers")}
    if trained := [each for each in rounds if each.front is not None]:
        fronts = fronts_sheet(trained)
        save_png(fronts.figure, output / FRONTS)
        plots["fronts"] = inline_svg(fronts, "Fronts of the rounds")
    objectives = list(rounds[0].objectives)
    dropped: dict[str, int] = {}
    for each in rounds:
        for reason, lost in each.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + lost
    return write_page(
        result.config,
        "build.html.j2",
        command,
        headline=_headline(rounds),
        findings=_findings(rounds),
        rounds=rounds,
        objectives=objectives,
        colours=[colour(j) for j in range(len(objectives))],
        opposite={
            f"{one} and {other}": [each.opposite()[one, other] for each in rounds]
            for one, other in rounds[0].opposite()
        },
        means={name: [_mean(each.scores(name)) for each in rounds] for name in objectives},
        volumes=[each.front.at(1).metrics for each in trained if each.front is not None],
        examples=_examples(rounds[-1]),
        dropped=dropped,
        plots=plots,
        tokens=sum(each.tokens for each in rounds),
        taken=sum(each.seconds for each in rounds),
    )


def scores_sheet(rounds: Sequence[BuiltRound]) -> Sheet:
    """A histogram of every objective's scores; later rounds are drawn over earlier ones."""
    objectives = list(rounds[0].objectives)
    with panels(len(objectives), min(3, len(objectives)), 2.3, extra=0.3) as sheet:
        for j, (axes, name) in enumerate(zip(sheet.panels, objectives, strict=True)):
            scores = [each.scores(name) for each in rounds]
            edges = np.histogram_bin_edges(np.concatenate(scores), BINS)
            for i, values in enumerate(scores):
                shares = np.histogram(values, edges)[0] / len(values)
                last = i == len(scores) - 1
                axes.stairs(shares, edges, fill=last, color=colour(j), alpha=0.35 if last else 1.0, linewidth=1.1)
                ink = colour(j) if last else MUTED
                axes.axvline(float(values.mean()), color=ink, linewidth=1.4, linestyle="-" if last else (0, (4, 3)))
            axes.set_title(clipped(name, 40), color=colour(j))
            axes.set_xlabel("score")
            axes.set_yticks([])
    return sheet


def fronts_sheet(rounds: Sequence[BuiltRound]) -> Sheet:
    """The front of generated reward of every round, in the planes of the objectives."""
    objectives = list(rounds[0].objectives)
    pairs = [(i, j) for i in range(len(objectives)) for j in range(i + 1, len(objectives))]
    with panels(len(pairs), min(3, len(pairs)), 0.84, widest=6.6, extra=0.4, key="up and right is better") as sheet:
        for axes, pair in zip(sheet.panels, pairs, strict=True):
            for i, each in enumerate(rounds):
                assert each.front is not None
                front = each.front.at(1)
                if METRIC not in front.metrics:
                    continue
                places = front.values(METRIC)[:, pair]
                ink = colour(i)
                gids = [sheet.hover(f"{each.name}: {_shares(point.weights, objectives)}") for point in front.points]
                trail(axes, places, [ink] * len(places), gids, size=6, line=ink if len(objectives) == 2 else None)
                if pair == pairs[0]:
                    axes.plot([], [], marker="o", linestyle="", color=ink, label=each.name)
            Plane.of(front, METRIC, pair).frame(sheet, axes)
        sheet.panels[0].legend(frameon=False, fontsize=8, labelcolor="linecolor")
    return sheet


def _shares(weights: Sequence[float], objectives: Sequence[str]) -> str:
    return ", ".join(f"{name} {short(share)}" for name, share in zip(objectives, weights, strict=True))


def _mean(scores: Floats) -> str:
    return f"{number(float(scores.mean()))} ± {short(float(scores.std()))}"


def _headline(rounds: Sequence[BuiltRound]) -> str:
    answers = sum(each.answers for each in rounds)
    scored = listed(list(rounds[0].objectives))
    what = f"{count(answers)} answers to {count(rounds[0].prompts)} prompts, scored on {scored}"
    return what if len(rounds) == 1 and rounds[0].front is None else f"{what}, in {len(rounds)} rounds of training"


def _findings(rounds: Sequence[BuiltRound]) -> list[str]:
    """Where objectives disagree, which is what trade-offs are made of, and what rounds added."""
    first = rounds[0]
    shares = {pair: share for pair, share in first.opposite().items() if np.isfinite(share)}
    sentences = []
    if shares:
        (one, other), least = min(shares.items(), key=lambda item: item[1])
        sentences.append(
            f"{one} and {other} order {100 * least:.0f}% of the pairs of answers oppositely"
            + (", the fewest of all pairs of objectives." if len(shares) > 1 else ".")
        )
        if least < 0.1:
            sentences.append("Objectives that agree this much leave little to trade.")
    volumes = [
        each.front.at(1).metrics[METRIC].hypervolume for each in rounds if each.front and METRIC in each.front.metrics
    ]
    if len(volumes) > 1:
        sentences.append(
            f"The hypervolume of generated reward went from {number(volumes[0])} after the first round to "
            f"{number(volumes[-1])} after the last."
        )
    taken, tokens = sum(each.seconds for each in rounds), sum(each.tokens for each in rounds)
    if taken:
        sentences.append(f"Answering and scoring took {seconds(taken)}, {short(tokens / taken)} tokens a second.")
    return sentences


def _examples(last: BuiltRound) -> list[dict[str, Any]]:
    """The first prompts with their answers and scores."""
    shown = []
    for row in last.rows[:EXAMPLES]:
        scores = [{name: row["scores"][name][i] for name in last.objectives} for i in range(len(row["responses"]))]
        weights = row.get("weights") or [None] * len(scores)
        prompt = row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]
        answers = [
            {"text": text, "scores": of_text, "weights": of_weights}
            for text, of_text, of_weights in zip(row["responses"], scores, weights, strict=True)
        ]
        shown.append({"prompt": prompt, "answers": answers})
    return shown

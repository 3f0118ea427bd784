"""What a job does with its results: pages and pictures, and on the terminal the figures one looks for first."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cosdpo.experiment.progress import Phase
from cosdpo.experiment.results.build_result import BuildResult
from cosdpo.experiment.results.comparison_result import ComparisonResult
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.experiment.sweep.sweep_result import BEST, SweepResult
from cosdpo.hub import push_run
from cosdpo.reports.build_page import write_build
from cosdpo.reports.comparison_page import write_comparison
from cosdpo.reports.narrative import behind
from cosdpo.reports.run_page import write_run
from cosdpo.reports.sweep_page import write_sweep
from cosdpo.tasks import task_of


def finish_runs(runs: Iterable[RunResult], samples: bool = False) -> None:
    """Writes the pages of runs as they come, and prints the figures of the last one.

    Args:
        samples: print what it answers, too.
    """
    last = None
    for last in runs:
        with Phase("report", last.config.output):
            write_run(last)
    if last is not None:
        if samples:
            _print_samples(last)
        _print_front(last)
        push_run(last.config)


def finish_build(results: Iterable[RunResult | BuildResult], samples: bool = False) -> None:
    """Writes the pages of runs and of the build as they come, and prints where the preferences are.

    Args:
        samples: print what a run answers, too.
    """
    for result in results:
        with Phase("report", result.config.output):
            if isinstance(result, RunResult):
                write_run(result, f"python jobs/train_gpt2.py --config {result.config.output / 'config.yaml'}")
            else:
                write_build(result)
        if isinstance(result, BuildResult):
            _print_build(result)
            continue
        if samples:
            _print_samples(result)
        _print_front(result)


def finish_comparison(compared: ComparisonResult | None) -> None:
    """Writes the page of a comparison and prints hypervolume and time of every method; nothing after a plan."""
    if compared is not None:
        with Phase("report", compared.config.output):
            write_comparison(compared)
        _print_comparison(compared)


def finish_sweep(swept: SweepResult) -> None:
    """Writes the pages of a sweep and of those of its trials that have none yet, and prints what was found."""
    for run in swept.runs():
        folder = run.config.output
        if not (folder / "report.html").exists():
            job = task_of(swept.config).job
            with Phase(f"report of {folder.name}", folder):
                write_run(run, f"python jobs/{job} --config {folder / 'config.yaml'} --output runs/again")
    with Phase("report", swept.config.output):
        write_sweep(swept)
    _print_sweep(swept)


def _print_samples(run: RunResult) -> None:
    """Prints the first sample prompt and its answers along the trade-off."""
    first = run.samples[0]
    print(f"\n{first.prompt}")
    for answer in first.answers:
        shares = zip(run.front.objectives, answer.weights, strict=True)
        print("  " + " ".join(f"{name} {share:.2f}" for name, share in shares) + f" | {answer.text}")
    print()


def _print_front(run: RunResult) -> None:
    """Prints the figures of the front at the trained temperature."""
    front = run.front.at(1)
    for name, metric in front.metrics.items():
        steering = ", ".join(f"{o} {c:.2f}" for o, c in zip(front.objectives, metric.controllability, strict=True))
        reference = ", ".join(f"{value:.3g}" for value in metric.reference_point)
        sure = "" if metric.hypervolume_deviation is None else f" ± {metric.hypervolume_deviation:.2g}"
        print(f"{name}: hypervolume {metric.hypervolume:.4g}{sure} above ({reference}); controllability {steering}")
    if front.main is not None:
        values = front.main.values
        print(
            f"{front.main.name} {front.main.metric}: {min(values):.3f} to {max(values):.3f} along the front, base "
            f"{front.main.base:.3f}"
        )
    for sentence in behind(front):
        print(f"warning: {sentence}")
    print(f"trained in {front.train_seconds_total:.0f} s; report: {run.config.output / 'report.html'}")


def _print_build(built: BuildResult) -> None:
    """Prints what was made, and where it is."""
    for each in built.rounds:
        print(f"{each.name}: {each.answers} answers to {each.prompts} prompts: {each.path}")
        for (one, other), share in each.opposite().items():
            print(f"  {one} and {other} order {100 * share:.0f}% of the pairs of answers oppositely")
        for reason, lost in each.dropped.items():
            print(f"  {reason}: {lost}")
    print(f"report: {built.config.output / 'report.html'}")


def _print_comparison(compared: ComparisonResult) -> None:
    """Prints hypervolume and time of every method."""
    results = compared.results
    for method, budget in dict.fromkeys((result.front.method, result.budget) for result in results):
        chosen = [r for r in results if (r.front.method, r.budget) == (method, budget)]
        seconds = np.mean([r.front.train_seconds_total for r in chosen])
        for metric in chosen[0].front.metrics:
            volumes = [r.front.metrics[metric].hypervolume for r in chosen]
            deviation = np.std(volumes, ddof=1) if len(volumes) > 1 else 0.0
            print(
                f"{method} ({budget}) {metric}: hypervolume {np.mean(volumes):.4g} ± {deviation:.2g} over "
                f"{len(volumes)} seeds, {chosen[0].runs} runs, {seconds:.0f} s of training"
            )
    print(f"report: {compared.config.output / 'report.html'}")


def _print_sweep(result: SweepResult) -> None:
    """Prints what was found and where it is."""
    counts = [f"{result.count(state)} {state}" for state in ("finished", "stopped", "failed") if result.count(state)]
    output = result.config.output
    print(f"{len(result.trials)} trials: {', '.join(counts)}")
    for target in result.targets:
        print(f"best {target.name}: {result.best.last[target.name]:.4g}")
    settings = result.best.settings.items()
    print(
        "  "
        + ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in settings)
    )
    print(f"run it again: python jobs/{task_of(result.config).job} --config {output / BEST}")
    print(f"report: {output / 'report.html'}")

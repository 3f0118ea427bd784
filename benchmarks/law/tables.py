"""The tables of the benchmark, and the figures of its JSON line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from law.law_of_ranker import DIRECTIONS

from cosdpo.config import Config

Row = Sequence[object]


def table(title: str, heads: Sequence[str], rows: Sequence[Row]) -> None:
    """Prints a Markdown table, numbers with four significant digits."""
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        print("| " + " | ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row) + " |")
    print(flush=True)


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.4f} \u00b1 {deviation:.4f}"


def tabular(optima: dict[str, Any]) -> None:
    """The exact optima."""
    rows = [(kind, of_kind["max_abs"], of_kind["largest_change"]) for kind, of_kind in optima.items()]
    table("tabular: scores", ("loss", "largest difference, trained and rescaled", "largest change of scores"), rows)


def ranker(by_kind: dict[str, Any], betas: Sequence[float], objectives: Sequence[str]) -> dict[str, float]:
    """Both parametrisations at every temperature; NDCG is the mean over weights and objectives."""
    rows, result = [], {}
    for kind, runs in by_kind.items():
        for b, beta in enumerate(betas):
            trained, rescaled = (np.array([run[way][b] for run in runs]) for way in ("trained", "rescaled"))
            gap = np.abs(trained - rescaled).mean(0)  # over seeds
            rows.append(
                (
                    kind,
                    beta,
                    *(max(run[name][b] for run in runs) for name in ("same_network", "trained_anew", "reward")),
                    spread(trained[..., :-1].mean((1, 2))),
                    spread(rescaled[..., :-1].mean((1, 2))),
                    float(gap[:, :-1].mean(1).max()),
                    spread(trained[..., -1].mean(1)),
                    spread(rescaled[..., -1].mean(1)),
                )
            )
        result[f"ndcg_gap_{kind}"] = max(float(row[-3]) for row in rows if row[0] == kind)
        result[f"trained_anew_{kind}"] = max(float(row[3]) for row in rows if row[0] == kind)
    named = f"NDCG@10 of {' and '.join(objectives)}"
    heads = ("parametrisation", "temperature", "scores: same network", "trained anew", "largest reward")
    table(
        "ranker: largest absolute differences of scores; NDCG@10, mean over the weights",
        (*heads, f"{named}, trained", "rescaled", "largest gap at a weight", "relevance, trained", "rescaled"),
        rows,
    )
    return result


def vectors(runs: Sequence[dict[str, Any]], config: Config) -> dict[str, float]:
    """The conditioned run against a run per temperature vector."""
    rows = []
    for v, direction in enumerate(DIRECTIONS):
        beta = "(" + ", ".join(f"{sum(config.temperatures) * share:.3g}" for share in direction) + ")"
        row: list[object] = [beta]
        for way in ("conditioned", "separate"):
            ndcg = np.array([run[way][v] for run in runs]).mean(1)  # over weights: [seeds, m + 1]
            row += [spread([run[f"{way}_hypervolume"][v] for run in runs]), *(spread(column) for column in ndcg.T)]
        rows.append(row)
    names = [*config.objectives, "relevance"]
    ways = ("one conditioned run", "a run per vector")
    heads = [f"{way}: {what}" for way in ways for what in ("hypervolume", *names)]
    table("temperature vectors: NDCG@10, mean over the weights", ["temperatures", *heads], rows)
    seconds = {way: float(np.mean([run[f"{way}_seconds"] for run in runs])) for way in ("conditioned", "separate")}
    print(f"seconds of training: {seconds['conditioned']:.1f} once, {seconds['separate']:.1f} for all vectors")
    volumes = {way: np.mean([run[f"{way}_hypervolume"] for run in runs]) for way in ("conditioned", "separate")}
    return {"vectors_hypervolume_ratio": float(volumes["conditioned"] / volumes["separate"])}


def language(law: dict[str, Any], objectives: Sequence[str]) -> dict[str, float]:
    """Every measure at every temperature but the trained one; means over weights and objectives."""
    measures = {name: {way: np.array(values) for way, values in law[name].items()} for name in law["measures"]}
    accuracy = measures["accuracy"]
    gap = np.abs(accuracy["trained"] - accuracy["rescaled"]).mean((0, -1))[1:]  # [betas, N]
    seeds = len(accuracy["trained"])
    rows = []
    for b, beta in enumerate(law["betas"]):
        row: list[object] = [beta]
        for of_measure in measures.values():
            for values in of_measure.values():
                at_beta = values[:, b].reshape(seeds, -1).mean(1)
                row.append(spread(at_beta))
        rows.append([*row, "" if b == 0 else float(gap[b - 1].max())])
    heads = [f"{name}, {way}" for name in measures for way in ("trained", "rescaled")]
    table(
        f"language: {' and '.join(objectives)}, {seeds} seeds; kl in nats per token",
        ("temperature", *heads, "largest accuracy gap at a weight"),
        rows,
    )
    result = {"accuracy_gap_language": float(gap.max()), "accuracy_gap_language_mean": float(gap.mean())}
    if seeds > 1:  # how far two seeds of one setting are apart, to set the gap against
        apart = [np.abs(accuracy["trained"][i] - accuracy["trained"][j]) for i in range(seeds) for j in range(i)]
        result["accuracy_gap_of_seeds"] = float(np.mean(apart, axis=0).mean(-1).max())
    return result

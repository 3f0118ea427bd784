"""The law of temperatures, measured: is the model rescaled to c * beta the one that is trained there?

    python benchmarks/temperature_law.py --config jobs/configs/stories.yaml --model.base MODEL \
        --data.train train.jsonl --data.validation validation.jsonl \
        --ranking-config jobs/configs/mslr_sample.yaml --ranking-data FOLDER --output runs/temperature-law

Trains at every temperature of --betas (0.05 0.2 0.4) with --seeds N (3), and sets each against the model trained at
--trained (0.1) and rescaled, which needs no training:

    tabular    free scores at the exact minimum of the loss, in float64
    ranker     at the same network, and at networks trained anew; augmentation and from scratch (with --ranking-data)
    language   rescaled token by token (with --model.base)
    vectors    one temperature-conditioned ranker against a ranker trained at each temperature vector

Everything runs in this process, one after the other; results are kept in `output`, and a second call computes what is
missing. Prints tables, draws --figure, and ends with one JSON line:

    max_abs_ranker         largest absolute difference of scores where the law must hold: between the exact optima, and
                           between a trained network asked for c * beta and its rescaled scores (float32 rounding)
    accuracy_gap_language  largest over weights and c of the absolute difference in accuracy between the trained and the
                           rescaled model, mean over seeds and objectives
"""

import argparse
import json
from pathlib import Path

import torch
from law import figure, law_of_language, law_of_ranker, tables, tabular

from cosdpo.cli.command_line import read_config
from cosdpo.experiment.job_checks import located


def main() -> None:
    """All parts whose data is given."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--seeds", type=int, default=3)
    own.add_argument("--trained", type=float, default=0.1)
    own.add_argument("--betas", type=float, nargs="+", default=[0.05, 0.2, 0.4])
    own.add_argument("--ranking-config", default="jobs/configs/mslr_sample.yaml")
    own.add_argument("--ranking-data", default="")
    own.add_argument("--figure", type=Path, default=Path("docs/temperature-law.png"))
    chosen, rest = own.parse_known_args()
    torch.set_num_threads(1)
    config = read_config(rest, __doc__)
    config = config.changed({"temperature": chosen.trained})
    folder, trained_at, others = config.output.resolve(), chosen.trained, chosen.betas

    exact = tabular.law(trained_at, others, chosen.seeds)
    tables.tabular(exact)
    result = {f"tabular_{kind}": optima["max_abs"] for kind, optima in exact.items()}
    result["max_abs_ranker"] = max(result.values())
    of_ranker = of_language = None
    if chosen.ranking_data:
        argv = ["--config", chosen.ranking_config, "--data.train", chosen.ranking_data]
        ranking = located(read_config([*argv, "--temperature", str(trained_at)]))
        of_ranker = law_of_ranker.law(ranking, others, chosen.seeds, folder)
        same = max(max(run["same_network"]) for runs in of_ranker.values() for run in runs)
        result |= {"max_abs_ranker": max(same, result["max_abs_ranker"]), "same_network": same}
        result |= tables.ranker(of_ranker, others, ranking.objectives)
        result |= tables.vectors(law_of_ranker.vectors(ranking, chosen.seeds, folder), ranking)
    if config.model.base:
        of_language = law_of_language.law(located(config), [trained_at, *others], chosen.seeds, folder)
        result |= tables.language(of_language, config.objectives)
    if of_ranker and of_language:
        figure.draw(of_ranker, of_language, trained_at, others, chosen.figure)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

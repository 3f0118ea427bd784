"""Trains one conditioned ranker on query lists with several objectives and maps its front in NDCG@10.

    python jobs/train_ltr.py
    python jobs/train_ltr.py --config jobs/configs/mslr.yaml --data.train MSLR-WEB10K
    ray job submit --working-dir . -- python jobs/train_ltr.py --config jobs/configs/mslr.yaml --data.train MSLR-WEB10K

Without data it ranks a synthetic data set in MSLR's form. Without --model.base a base ranker is trained on the main
label first. With folds in the data (or --data.folds N) it cross-validates; --data.fold K runs one of them.
"""

from cosdpo.cli import main
from cosdpo.config import Config


def job(config: Config) -> None:
    from cosdpo.experiment.run import run
    from cosdpo.reports.finish import finish_runs

    finish_runs(run(config))


if __name__ == "__main__":
    main(job, __doc__, {"task": "ranking", "output": "runs/ltr", "data.validation_share": 0.2})

"""Searches for good settings with Ray Tune: temperature, Dirichlet alpha, conditioning, ranks, learning rates.

    python jobs/sweep.py --config jobs/configs/sweep_quickstart.yaml
    python jobs/sweep.py --config jobs/configs/sweep_stories.yaml --model.base FOLDER --data.train train.jsonl \
        --data.validation validation.jsonl
    ray job submit --working-dir . -- python jobs/sweep.py --config jobs/configs/sweep_stories.yaml ...

Every trial is a run folder under OUTPUT/trials; best.yaml is the best one's configuration for the training jobs.
Killed, it goes on by --resume without losing a finished trial. Without model and data it uses the synthetic reviews.
"""

from cosdpo.cli import main
from cosdpo.config import Config


def job(config: Config) -> None:
    from cosdpo.experiment.sweep.sweep import check, located, sweep
    from cosdpo.reports.finish import finish_sweep
    from cosdpo.tasks import task_of

    if not (config.resume or config.model.base or config.data.train):  # early, before synthetic data is made
        check(located(config))
    finish_sweep(sweep(task_of(config).with_demo_data(config)))


if __name__ == "__main__":
    main(job, __doc__, {"output": "runs/sweep"})

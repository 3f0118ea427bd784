"""Compares methods on equal terms: one conditioned run against the baselines, with several seeds.

    python jobs/compare.py --config jobs/configs/compare_quickstart.yaml
    python jobs/compare.py --config jobs/configs/compare_stories.yaml --model.base FOLDER --data.train train.jsonl \
        --data.validation validation.jsonl
    ray job submit --working-dir . -- python jobs/compare.py --config jobs/configs/compare_stories.yaml ...

--plan prints the runs and what they would cost. Killed, it goes on with what is missing by --resume.
"""

from cosdpo.cli import main
from cosdpo.config import Config


def job(config: Config) -> None:
    from cosdpo.experiment.compare import compare, print_results
    from cosdpo.tasks.demo import make

    if config.task == "language" and not (config.model.base or config.data.train):
        config = make(config)
    print_results(config, compare(config))


if __name__ == "__main__":
    main(job, __doc__, {"output": "runs/compare"})

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
    from cosdpo.experiment.compare import compare
    from cosdpo.reports.finish import finish_comparison
    from cosdpo.tasks import task_of

    finish_comparison(compare(task_of(config).with_demo_data(config)))


if __name__ == "__main__":
    main(job, __doc__, {"output": "runs/compare"})

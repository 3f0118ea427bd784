"""From nothing to a front in a few minutes: synthetic reviews, a small base model, one conditioned run, a report.

    make quickstart
    python jobs/quickstart.py --output runs/again

It writes short reviews of small places and scores them on three objectives that pull apart: cheerful, brief
and vivid. Base model and preferences are made once and cached, as ordinary files that any other job can read.
"""

import sys
from pathlib import Path

from cosdpo.cli import main
from cosdpo.config import Config

CONFIG = Path(__file__).parent / "configs" / "quickstart.yaml"


def job(config: Config) -> None:
    from cosdpo.experiment import job_checks
    from cosdpo.experiment.run import run
    from cosdpo.reports.finish import finish_runs
    from cosdpo.tasks.demo import with_demo_data

    if not config.resume:  # early, before the data is made; what is resumed is checked with its files in place
        job_checks.check(job_checks.located(config))
    finish_runs(run(with_demo_data(config)), samples=True)


if __name__ == "__main__":
    main(job, __doc__, argv=["--config", str(CONFIG), *sys.argv[1:]])

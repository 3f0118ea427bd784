"""From nothing to a front in a few minutes: a synthetic world, a small base model, one conditioned run, a report.

    make quickstart
    python jobs/quickstart.py --output runs/again

The world writes short reviews of small places and scores them on three objectives that pull apart: cheerful, brief
and vivid. Base model and preferences are made once and cached, as ordinary files that any other job can read.
"""

import sys
from pathlib import Path

from cosdpo.cli import main
from cosdpo.config import Config

CONFIG = Path(__file__).parent / "configs" / "quickstart.yaml"


def job(config: Config) -> None:
    from cosdpo.run import check, print_front, print_samples, run
    from cosdpo.tasks.demo import make

    if not config.resume:  # early, before the world is made; what is resumed is checked with the world's files in place
        check(config)
    front = run(make(config))
    print_samples(config)
    print_front(config, front)


if __name__ == "__main__":
    main(job, __doc__, argv=["--config", str(CONFIG), *sys.argv[1:]])

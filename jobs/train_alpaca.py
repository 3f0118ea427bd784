r"""The paper's language setting: Alpaca-7B on PKU-SafeRLHF, better against safer, one run for the whole front.

    ray job submit --working-dir . -- python jobs/train_alpaca.py
    python jobs/train_alpaca.py --scaling.use_gpu false --scaling.workers 1 --model.base TinyLlama/TinyLlama_v1.1 \
        --data.max_rows 200 --training.steps 20 --training.batch_size 8

Needs the hub (base model and preferences) and the GPUs that jobs/configs/alpaca.yaml asks for; every key can be
overridden, and the job says in one line what is missing.
"""

import sys
from pathlib import Path

from cosdpo.cli import main
from cosdpo.config import Config

CONFIG = Path(__file__).parent / "configs" / "alpaca.yaml"


def job(config: Config) -> None:
    from cosdpo.experiment.run import run
    from cosdpo.reports.finish import finish_runs

    finish_runs(run(config))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(job, __doc__, argv=arguments if "--config" in arguments else ["--config", str(CONFIG), *arguments])

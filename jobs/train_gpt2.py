"""Trains one conditioned language model on preferences over several objectives and maps its front.

    python jobs/train_gpt2.py --config jobs/configs/gpt2.yaml
    ray job submit --working-dir . -- python jobs/train_gpt2.py --config jobs/configs/gpt2.yaml

Any causal language model of the GPT-2 or Llama family will do as --model.base, from the hub or a folder.
"""

from cosdpo.cli import main
from cosdpo.config import Config


def job(config: Config) -> None:
    from cosdpo.experiment.run import run
    from cosdpo.reports.finish import finish_runs

    finish_runs(run(config))


if __name__ == "__main__":
    main(job, __doc__, {"output": "runs/gpt2"})

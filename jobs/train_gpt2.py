"""Trains one conditioned language model on preferences over several objectives and maps its front.

python jobs/train_gpt2.py --config jobs/configs/gpt2.yaml
ray job submit --working-dir . -- python jobs/train_gpt2.py --config jobs/configs/gpt2.yaml
"""

from cosdpo.cli import main
from cosdpo.config import Config


def job(config: Config) -> None:
    from cosdpo.run import run

    front = run(config)
    for name, metric in front.metrics.items():
        print(f"hypervolume of {name}: {metric.hypervolume:.4f} (reference point {metric.reference_point})")
    print(f"report: {config.output / 'report.html'}")


if __name__ == "__main__":
    main(job, __doc__, {"output": "runs/gpt2"})

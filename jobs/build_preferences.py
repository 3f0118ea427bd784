"""Makes preferences from prompts: a model answers each several times, and a scorer per objective judges the answers.

    python jobs/build_preferences.py --model.base FOLDER --build.prompts prompts.jsonl --objectives positivity brevity \
        --evaluation.scorers '{positivity: positivity, brevity: shortness}'
    python jobs/train_gpt2.py --model.base FOLDER --objectives positivity brevity \
        --data.train runs/preferences/preferences.parquet

--build.checkpoint has a conditioned model answer along the grid of weights instead of the base. --build.rounds N
alternates answering and training. Killed, it goes on by --resume; answers that are there are kept.
"""

from cosdpo.cli import main
from cosdpo.config import Config


def job(config: Config) -> None:
    from cosdpo.experiment.build.rounds import build_preferences
    from cosdpo.reports.finish import finish_build
    from serve.prompt_answerer import PromptAnswerer

    finish_build(build_preferences(config, PromptAnswerer))


if __name__ == "__main__":
    main(job, __doc__, {"output": "runs/preferences"})

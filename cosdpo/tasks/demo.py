"""The synthetic reviews as files: a base model folder and a table of preferences, made once and cached."""

from __future__ import annotations

import json

from cosdpo.config import Config
from cosdpo.data import synthetic_text as synthetic
from cosdpo.files import cache_folder, whole_file
from cosdpo.training.pretraining import synthetic_base

CONTEXTS = 1200


def with_demo_data(config: Config) -> Config:
    """`config` with model.base and data.train set to the synthetic files, which are made if they are not there yet."""
    base = synthetic_base()
    path = cache_folder() / f"synthetic-preferences-{CONTEXTS}.jsonl"
    if not path.exists():
        preferences = synthetic.preferences(CONTEXTS, seed=1)
        with whole_file(path) as temporary, temporary.open("w") as file:
            for row in range(len(preferences)):
                scores = dict(zip(preferences.objectives, preferences.scores(row), strict=True))
                line = {"prompt": preferences.context(row), "responses": preferences.candidates(row), "scores": scores}
                file.write(json.dumps(line) + "\n")
    return config.changed({"model.base": config.model.base or str(base), "data.train": config.data.train or str(path)})

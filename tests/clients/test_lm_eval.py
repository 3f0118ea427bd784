"""lm-evaluation-harness by its model `local-completions`: it sends token ids, and scores by echo and logprobs."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.language_scorer import LanguageScorer
from tests.clients.conftest import Drive
from tests.tiny_models import letters

pytestmark = pytest.mark.slow
WEIGHTS = [[1.0, 0.0], [0.0, 1.0]]
RUN = """
import lm_eval
from lm_eval.tasks import TaskManager

tasks = TaskManager(include_path=".", include_defaults=False)
OF_SERVICE = {"model": "tiny", "base_url": URL + "/v1/completions", "tokenizer": BASE}

def run(task, weights="", **named):
    arguments = OF_SERVICE | {"model": "tiny" + weights}
    return lm_eval.simple_evaluate(
        "local-completions", model_args=arguments, tasks=[task], task_manager=tasks, bootstrap_iters=0, **named
    )
"""


def scores(scorer: LanguageScorer, row: dict[str, Any], weights: list[float]) -> list[float]:
    """log-probability of each choice after the question, but for what all choices have in common."""
    first, *question = letters()(row["question"])["input_ids"]
    choices = [question + letters()(" " + choice)["input_ids"] for choice in row["choices"]]
    trained = torch.tensor([scorer.card.trained_temperature])
    with torch.inference_mode():
        return scorer([TokenizedContext([first], choices)], torch.tensor([weights]), trained)[0].tolist()


def best(of: list[float]) -> int:
    return max(range(len(of)), key=of.__getitem__)


@pytest.fixture
def scorer(address: str, base: Path) -> LanguageScorer:
    """What is served."""
    return LanguageScorer.load(base.parent / "tiny" / "checkpoint")


def test_multiple_choice_at_two_weights(drive: Drive, scorer: LanguageScorer, base: Path, tmp_path: Path) -> None:
    """The right choices are those of the model at the first weights: all are found there, and some at the second.

    The harness has no field for a body's further members, so that the model's name carries the weights.
    """
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 6))) for _ in range(40)]
    rows = [{"question": " ".join(rng.sample(words, 3)), "choices": rng.sample(words, 4)} for _ in range(24)]
    found = [[best(scores(scorer, row, weights)) for row in rows] for weights in WEIGHTS]
    lines = [json.dumps(row | {"label": label}) for row, label in zip(rows, found[0], strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "words.yaml").write_text(
        """
task: words
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
"""
    )
    told = drive(
        "lm_eval",
        f"""
BASE = {str(base)!r}
{RUN}
named = ["", "@kind=1", "@kind=0,short=1"]
print(json.dumps([run("words", weights)["results"]["words"]["acc,none"] for weights in named]))
""",
    )
    mixed = [best(scores(scorer, row, [0.5, 0.5])) for row in rows]
    expected = [sum(a == b for a, b in zip(found[0], other, strict=True)) / len(rows) for other in (mixed, *found)]
    assert told == pytest.approx(expected)
    assert expected[1] == 1
    assert expected[2] < 0.8


def test_generation_with_weights(drive: Drive, base: Path, tmp_path: Path) -> None:
    """What generation_kwargs say beyond the harness' own is sent as it is."""
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"question": q}) for q in ("abc", "hello you", "why")))
    for name, weights in zip(("kind", "short"), WEIGHTS, strict=True):
        (tmp_path / f"{name}.yaml").write_text(
            f"""
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: rows.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: ""
generation_kwargs: {{until: ["!"], max_gen_toks: 12, weights: {weights}}}
metric_list: [{{metric: exact_match}}]
"""
        )
    kind, short = drive(
        "lm_eval",
        f"""
BASE = {str(base)!r}
{RUN}
samples = [run(name, log_samples=True)["samples"][name] for name in ("kind", "short")]
print(json.dumps([[sample["resps"][0][0] for sample in each] for each in samples]))
""",
    )
    assert all(kind)
    assert all("!" not in text and len(text) <= 12 for text in kind + short)
    assert kind != short

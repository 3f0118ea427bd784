"""Libraries that ask for objects: what the model writes is of the type that the caller names."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.clients.conftest import Drive, serving
from tests.tiny_models import byte_level, write_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose tokenizer writes all of JSON, and whose context holds the schema that JSON mode sends along."""
    tokenizer = byte_level()
    base = write_model(tmp_path_factory.mktemp("bytes") / "base", "llama-tied", len(tokenizer))
    tokenizer.save_pretrained(base)
    config = base / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 4096}))
    with serving(base) as url:
        yield url


def test_instructor_reads_objects(drive: Drive) -> None:
    """In json_schema mode whatever the model says fits the type; in JSON mode it is told the schema and held to JSON
    alone, so that a type fits that asks for nothing.
    """
    reviews, anything, modes = drive(
        "instructor",
        """
        from typing import Literal
        import instructor, openai
        from instructor.core.exceptions import IncompleteOutputException
        from pydantic import BaseModel, ConfigDict

        class Review(BaseModel):
            verdict: Literal["good", "bad"]
            stars: Literal[1, 2, 3, 4, 5]

        class Pair(BaseModel):
            first: Review
            second: Review | None

        class Anything(BaseModel):
            model_config = ConfigDict(extra="allow")

        sent = []
        plain = openai.OpenAI(base_url=URL + "/v1")
        def ask(mode, kind):
            client = instructor.from_openai(plain, mode=mode)
            client.on("completion:kwargs", lambda *given, **named: sent.append(named["response_format"]["type"]))
            for seed in range(20):  # a model that says anything may not come to an end
                try:
                    return client.chat.completions.create(
                        model="tiny", response_model=kind, max_retries=0, max_tokens=200, seed=seed,
                        messages=[{"role": "user", "content": "Rate it."}],
                    )
                except IncompleteOutputException:
                    continue

        review = ask(instructor.Mode.JSON_SCHEMA, Review)
        pair = ask(instructor.Mode.JSON_SCHEMA, Pair)
        anything = ask(instructor.Mode.JSON, Anything)
        print(json.dumps([[review.model_dump(), pair.first.model_dump()], anything.model_dump(), sorted(set(sent))]))
        """,
    )
    assert all(review["verdict"] in ("good", "bad") and review["stars"] in range(1, 6) for review in reviews)
    assert isinstance(anything, dict)
    assert modes == ["json_object", "json_schema"]

"""Templates that loop, print without end, or refuse; the service goes on."""

from __future__ import annotations

import pytest

from cosdpo.models.base import load_tokenizer
from serve import chat_template
from serve.chat_template import rendered
from serve.http.service_errors import ServiceError
from serve.language_service import LanguageService

HI = [{"role": "user", "content": "hi"}]
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}BODY{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (LOOP.replace("BODY", ""), "does not end within 0.2 s"),
        (LOOP.replace("BODY", "{% set x = a * b %}"), "does not end within 0.2 s"),
        ("{% macro f(n) %}{% for i in range(9) %}{{ f(n) }}{% endfor %}{% endmacro %}" + LOOP, "does not end"),
        ("{{ 'a' * 1001 }}", "makes 1001 characters of them, more than 1000"),
        ("{{ raise_exception('only one') }}", "refuses them: only one"),
    ],
)
def test_what_a_template_may_not(
    loaded: LanguageService, template: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 0.2)
    tokenizer = load_tokenizer(loaded.card.base)
    tokenizer.chat_template = template
    with pytest.raises(ServiceError, match="the model's chat template") as refused:
        rendered(tokenizer, HI, 1000)
    assert message in refused.value.detail
    assert refused.value.status_code == 400
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
    assert rendered(tokenizer, HI, 1000) == "user: hi"


def test_without_a_template_messages_are_paragraphs(loaded: LanguageService) -> None:
    tokenizer = load_tokenizer(loaded.card.base)
    tokenizer.chat_template = None
    assert rendered(tokenizer, [*HI, *HI], 1000) == "hi\n\nhi"

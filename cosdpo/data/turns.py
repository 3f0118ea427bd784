"""Turns of a chat: what a tokenizer's template writes before an answer and around it, and which tokens end a turn.

An answer in a chat has the tokens that the template gives the whole conversation, from where it lets an answer begin up
to the token that ends the turn. What the template writes behind that, such as a line break, is no part of the answer:
nothing is sampled there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]

MARK = "marker"
"""An answer that is found again in whatever a template makes of it."""


class ChatTemplate:
    """The chat template of a tokenizer that has one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def prompt(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> str:
        """The chat up to where its next answer begins; a last message of the assistant is continued.

        Raises:
            TemplateError, ValueError, TypeError: the template refuses the messages.
        """
        continued = messages[-1]["role"] == "assistant"
        return self._rendered(messages, tools, add_generation_prompt=not continued, continue_final_message=continued)

    def response(
        self, prompt: str, messages: Sequence[Message], answer: str | Sequence[Message], tools: Any = None
    ) -> str:
        """What the template writes of an answer behind `prompt`, which is its text of `messages`; ends with the turn.

        Args:
            answer: the assistant's text, or messages of which the assistant's is the last.

        Raises:
            TemplateError, ValueError, TypeError: the template refuses the conversation.
        """
        turns = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else list(answer)
        before = list(messages)
        if before[-1]["role"] == turns[0]["role"] == "assistant":
            begun = before.pop()
            turns[0] = {**begun, **turns[0], "content": (begun["content"] or "") + (turns[0]["content"] or "")}
        whole = self._rendered([*before, *turns], tools)
        if whole.startswith(prompt):
            return self._to_the_end(whole[len(prompt) :])
        if not isinstance(answer, str):
            if len(answer) > 1:
                raise ValueError("the answer does not follow the prompt in it")
            answer = answer[0]["content"] or ""
        # Some templates let an answer begin as none is written: with a thought, which they leave out of conversations.
        return self._to_the_end(answer + self._behind)

    @cached_property
    def end(self) -> int | None:
        """The token that ends an assistant's turn; None where text does, or where the template takes no plain chat."""
        known = {*self.tokenizer.all_special_ids, *self.tokenizer.get_added_vocab().values()}
        for token in self.tokenizer(self._behind, add_special_tokens=False)["input_ids"]:
            # Unknown text becomes a special token too; and some tokenizers have added runs of white space.
            if token in known and (text := self._text(token)).strip() and text in self._behind:
                return int(token)
        return None

    @cached_property
    def _behind(self) -> str:
        """All that follows the text of a conversation's last answer."""
        from jinja2 import TemplateError  # what only reads tokens does without

        chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": MARK}]
        try:
            return self._rendered(chat, None).rpartition(MARK)[2]
        except (TemplateError, ValueError, TypeError):  # one that wants more than a user's text; its rows will tell
            return ""

    def _to_the_end(self, text: str) -> str:
        """`text` without what follows the end of its last turn."""
        if self.end is None:
            return text.removesuffix(self._behind)
        before, end, _ = text.rpartition(self._text(self.end))
        return before + end if end else text

    def _rendered(self, messages: Sequence[Message], tools: Any, **options: Any) -> str:
        chat = list(messages)
        return str(self.tokenizer.apply_chat_template(chat, tools=tools or None, tokenize=False, **options))

    def _text(self, token: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(token))


def chat_template(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate | None:
    """The chat template of `tokenizer`, None where it has none."""
    return ChatTemplate(tokenizer) if tokenizer.chat_template else None


def end_tokens(tokenizer: PreTrainedTokenizerBase, base: Any = None) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's end of sequence, its template's end of a turn, and what the generation
    config of the model `base` names.
    """
    template = chat_template(tokenizer)
    named = getattr(getattr(base, "generation_config", None), "eos_token_id", None)
    ends = [tokenizer.eos_token_id, template and template.end, *(named if isinstance(named, list) else [named])]
    return frozenset(int(end) for end in ends if end is not None)

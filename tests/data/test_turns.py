"""Chats of ten families against transformers: our prompt and response are the beginning of its whole conversation.

Templates are those of the families, shortened; tokenizers are trained here, byte-level or SentencePiece-like.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from cosdpo.config import DataConfig
from cosdpo.data.sources import load
from cosdpo.data.tokenization import Tokenized, tokenize, tokenize_prompts
from cosdpo.data.turns import ChatTemplate, chat_template, end_tokens
from cosdpo.errors import InputError
from serve.chat_template import rendered
from tests.tiny_models import letters

CORPUS = [
    "user assistant system model end of turn",
    "How many cats are there? There are two cats.\n\nOh, two! Is it so?",
] * 4
LOOP = "{% for m in messages %}"
GENERATION = "{% if add_generation_prompt %}"
CHATML = (
    LOOP
    + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    + GENERATION
    + "<|im_start|>assistant\n{% endif %}"
)
"""Qwen's, SmolLM2's and others'."""


@dataclass(frozen=True)
class Family:
    """A template, the special tokens of its tokenizer, and what ends a turn."""

    template: str
    end: str
    eos: str
    bos: str | None = None
    specials: tuple[str, ...] = ()
    sentencepiece: bool = False
    puts_bos: bool = False
    """Whether the tokenizer puts its beginning before every plain text."""
    absorbs: bool = False
    """Whether special tokens take the white space behind them, as Phi-3's do."""


FAMILIES = {
    "chatml on a base": Family(CHATML, "<|im_end|>", "<|endoftext|>", specials=("<|im_start|>", "<|im_end|>")),
    "smollm2": Family(
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful AI<|im_end|>\n{% endif %}" + CHATML,
        "<|im_end|>", "<|im_end|>", None, ("<|im_start|>",),
    ),
    "llama 2": Family(
        LOOP + "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
        "</s>", "</s>", "<s>", sentencepiece=True, puts_bos=True,
    ),
    "llama 3": Family(
        LOOP + "{{ (bos_token if loop.first else '') + '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
        "{{ m.content | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        "<|eot_id|>", "<|end_of_text|>", "<|begin_of_text|>",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), puts_bos=True,
    ),
    "gemma": Family(
        "{{ bos_token }}" + LOOP + "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ m.content | trim }}<end_of_turn>\n{% endfor %}" + GENERATION + "<start_of_turn>model\n{% endif %}",
        "<end_of_turn>", "<eos>", "<bos>", ("<start_of_turn>", "<end_of_turn>"), puts_bos=True,
    ),
    "mistral": Family(
        "{{ bos_token }}" + LOOP + "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}{% else %}"
        "{{ raise_exception('Only user and assistant roles') }}{% endif %}{% endfor %}",
        "</s>", "</s>", "<s>", ("[INST]", "[/INST]"), sentencepiece=True, puts_bos=True,
    ),
    "phi 3": Family(
        LOOP + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        "<|end|>", "<|endoftext|>", "<s>", ("<|user|>", "<|assistant|>", "<|end|>"), sentencepiece=True, absorbs=True,
    ),
    "zephyr": Family(
        LOOP + "<|{{ m.role }}|>\n{{ m.content + eos_token }}\n{% endfor %}"
        + GENERATION + "<|assistant|>\n{% endif %}",
        "</s>", "</s>", "<s>", sentencepiece=True, puts_bos=True,
    ),
    "qwen 2.5": Family(
        "{% if tools %}<|im_start|>system\nTools:"
        "{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
        + LOOP + "<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% for call in m.tool_calls or [] %}"
        "<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_end|>", "<|im_end|>", specials=("<|im_start|>", "<|endoftext|>", "<tool_call>", "</tool_call>"),
    ),
    "deepseek": Family(
        "{{ bos_token }}" + LOOP + "{% if m.role == 'user' %}<|User|>{{ m.content }}{% else %}"
        "<|Assistant|>{{ m.content }}<|end▁of▁sentence|>{% endif %}{% endfor %}"
        + GENERATION + "<|Assistant|>{% endif %}",
        "<|end▁of▁sentence|>", "<|end▁of▁sentence|>", "<|begin▁of▁sentence|>",
        ("<|User|>", "<|Assistant|>"), puts_bos=True,
    ),
    "gpt-oss": Family(
        LOOP + "<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
        "<|message|>{{ m.content }}"
        "{{ '<|return|>' if m.role == 'assistant' and loop.last else '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        "<|return|>", "<|return|>", None, ("<|start|>", "<|channel|>", "<|message|>", "<|end|>"),
    ),
}  # fmt: skip

USER = {"role": "user", "content": "How many cats are there?"}
CHATS = {
    "one": [USER],
    "three": [USER, {"role": "assistant", "content": "Oh, two!"}, {"role": "user", "content": "Is it so?"}],
}
ANSWERS = ["There are two cats.", "  two cats\n", "Oh\n\nit is.", "1 < 2: é"]
TOOLS = [{"type": "function", "function": {"name": "count", "parameters": {"type": "object"}}}]


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    family = FAMILIES[name]
    tokenizer = Tokenizer(models.BPE(byte_fallback=family.sentencepiece, unk_token="<unk>"))
    pieces: dict[str, Any] = {"special_tokens": ["<unk>", *(f"<0x{b:02X}>" for b in range(256))]}
    if family.sentencepiece:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        pieces = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "special_tokens": ["<unk>"]}
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, show_progress=False, **pieces))
    named = dict.fromkeys([family.eos, family.end, *([family.bos] if family.bos else []), *family.specials])
    tokenizer.add_special_tokens([AddedToken(text, rstrip=family.absorbs, normalized=False) for text in named])
    if family.puts_bos:
        assert family.bos is not None
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{family.bos}:0 $A:0".replace(":0", ""),
            special_tokens=[(family.bos, tokenizer.token_to_id(family.bos))],
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token=family.bos, eos_token=family.eos
    )
    made.chat_template = family.template
    return made


def ours(tokenizer: PreTrainedTokenizerFast, row: dict[str, Any], folder: Path, **data: Any) -> Tokenized:
    """Tokens of a row in the scored format, whose first response is the best."""
    path = folder / "rows.jsonl"
    scores = {"good": [-float(i) for i in range(len(row["responses"]))]}
    path.write_text(json.dumps({"scores": scores, **row}) + "\n")
    config = DataConfig.model_validate(data)
    return tokenize(load(str(path), ["good"], config, chat_template(tokenizer)), tokenizer, config, 2000)


def theirs(tokenizer: PreTrainedTokenizerFast, messages: list[Any], **options: Any) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]
    return ids


def up_to_the_end(ids: list[int], end: int) -> list[int]:
    return ids[: len(ids) - ids[::-1].index(end)]


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_are_those_of_the_whole_conversation(name: str, chat: str, tmp_path: Path) -> None:
    tokenizer, family, messages = tokenizer_of(name), FAMILIES[name], CHATS[chat]
    end = tokenizer.convert_tokens_to_ids(family.end)
    (context,) = ours(tokenizer, {"prompt": messages, "responses": ANSWERS}, tmp_path).contexts
    assert context.prompt == theirs(tokenizer, messages, add_generation_prompt=True)
    assert len(context.candidates) == len(ANSWERS)
    for answer, response in zip(ANSWERS, context.candidates, strict=True):
        whole = theirs(tokenizer, [*messages, {"role": "assistant", "content": answer}])
        assert context.prompt + response == up_to_the_end(whole, end)
        assert response[-1] == end


@pytest.mark.parametrize("name", FAMILIES)
def test_a_last_message_of_the_assistant_is_continued(name: str, tmp_path: Path) -> None:
    tokenizer, family = tokenizer_of(name), FAMILIES[name]
    begun = {"role": "assistant", "content": "There are"}
    (context,) = ours(tokenizer, {"prompt": [USER, begun], "responses": [" two cats.", " one"]}, tmp_path).contexts
    assert context.prompt == theirs(tokenizer, [USER, begun], continue_final_message=True)
    whole = theirs(tokenizer, [USER, {"role": "assistant", "content": "There are two cats."}])
    assert context.prompt + context.candidates[0] == up_to_the_end(whole, tokenizer.convert_tokens_to_ids(family.end))
    served = tokenize_prompts(tokenizer, [rendered(tokenizer, [USER, begun], 1000)], chat=True)
    assert served == [context.prompt]
    # Where a token would span both, theirs is another prompt; the text stays the same.
    split = {"role": "assistant", "content": "There a"}
    (context,) = ours(tokenizer, {"prompt": [USER, split], "responses": ["re two cats.", "b"]}, tmp_path).contexts
    assert tokenizer.decode(context.prompt + context.candidates[0]) == tokenizer.decode(
        up_to_the_end(whole, tokenizer.convert_tokens_to_ids(family.end))
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_ends_are_the_template_s_and_the_tokenizer_s(name: str) -> None:
    tokenizer, family = tokenizer_of(name), FAMILIES[name]
    end, eos = tokenizer.convert_tokens_to_ids([family.end, family.eos])
    assert ChatTemplate(tokenizer).end == end
    assert end_tokens(tokenizer) == {end, eos}
    for named in (7, [7, eos]):

        class Base:
            generation_config = GenerationConfig(eos_token_id=named)

        assert end_tokens(tokenizer, Base()) == {end, eos, 7}


def test_tools_and_calls_are_rendered(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("qwen 2.5")
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "count", "arguments": {}}}]}
    messages = [USER, call, {"role": "tool", "content": "2"}]
    expected = theirs(tokenizer, messages, tools=TOOLS, add_generation_prompt=True)
    assert tokenizer.decode(expected).startswith("<|im_start|>system\nTools:{")
    for tools in (TOOLS, json.dumps(TOOLS)):
        row = {"prompt": messages, "responses": ["two", "three"], "tools": tools}
        (context,) = ours(tokenizer, row, tmp_path).contexts
        assert context.prompt == expected
    with pytest.raises(InputError, match=r"rows.jsonl:1: tools is 'count'; give a list of functions as JSON schemas"):
        ours(tokenizer, {"prompt": messages, "responses": ["a", "b"], "tools": "count"}, tmp_path)
    with pytest.raises(InputError, match=r"rows.jsonl:1: tools is .*; give the prompt beside them as a list of chat"):
        ours(tokenizer, {"prompt": "hello", "responses": ["a", "b"], "tools": TOOLS}, tmp_path)


def test_an_answer_begins_where_the_generation_prompt_ends_though_conversations_leave_it_out(tmp_path: Path) -> None:
    """As DeepSeek-R1's, which opens a thought that a conversation does not show."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_of("deepseek").backend_tokenizer, eos_token="<|User|>"
    )
    tokenizer.chat_template = FAMILIES["deepseek"].template.replace(
        "<|Assistant|>{% endif %}", "<|Assistant|><think>{% endif %}"
    )
    tokenizer.bos_token, tokenizer.eos_token = FAMILIES["deepseek"].bos, FAMILIES["deepseek"].eos
    (context,) = ours(tokenizer, {"prompt": [USER], "responses": ["two", "one"]}, tmp_path).contexts
    assert tokenizer.decode(context.prompt).endswith("<|Assistant|><think>")
    assert tokenizer.decode(context.candidates[0]) == "two<|end▁of▁sentence|>"


def test_a_template_whose_turns_end_in_text_has_the_tokenizer_s_end(tmp_path: Path) -> None:
    tokenizer = letters()
    tokenizer.chat_template = (
        LOOP + "{{ m.role }}: {{ m.content }}.\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert ChatTemplate(tokenizer).end is None
    chat = [{"role": "user", "content": "hi"}]
    (context,) = ours(tokenizer, {"prompt": chat, "responses": ["ab", "b"]}, tmp_path).contexts
    assert tokenizer.decode(context.prompt) == "user: hi.\nassistant: "
    assert context.candidates == [[3, 4, 2], [4, 2]]  # a, b, <eos>
    (context,) = ours(tokenizer, {"prompt": chat, "responses": ["ab", "b"]}, tmp_path, append_eos=False).contexts
    assert context.candidates == [[3, 4], [4]]


def test_without_ends_a_chat_s_responses_have_none(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("gemma")
    (context,) = ours(tokenizer, {"prompt": [USER], "responses": ["two", "one"]}, tmp_path, append_eos=False).contexts
    assert tokenizer.decode(context.candidates[0]) == "two"


def test_templates_of_the_data_are_for_texts(tmp_path: Path) -> None:
    tokenizer, row = tokenizer_of("llama 3"), {"prompt": [USER], "responses": ["two", "one"]}
    plain = ours(tokenizer, row, tmp_path)
    assert ours(tokenizer, row, tmp_path, prompt_template="Q: {prompt}", response_template=" {response}") == plain


def test_answers_that_the_template_trims_to_the_same_are_one(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("gemma")
    result = ours(tokenizer, {"prompt": [USER], "responses": ["two", " two", "one"]}, tmp_path)
    assert [tokenizer.decode(y) for y in result.contexts[0].candidates] == ["two<end_of_turn>", "one<end_of_turn>"]
    assert result.scores == [[[-0.5, -2.0]]]

"""Answers that follow a JSON schema: which tokens may come next, by llguidance.

A schema is compiled once, in a thread of its own, and kept. Each answer has its own place in it (a Grammar), which
advances with its tokens. The masks of a step are found in another thread while the model runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence as Items
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from cosdpo.models.transfer import on_device
from serve.engine.requests import UnusableSchemaError

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer

KEPT = 64
"""Compiled schemas that are kept."""
COMPILE_SECONDS = 10.0
"""Until a schema is given up, its wait for others included."""
LEXER_FUEL, PARSER_ITEMS = 20_000, 10_000
"""What one mask may take, in llguidance's units: a few milliseconds. An answer that needs more ends with an error, so
that no schema slows down the rows beside it."""
OPTIONS = {"lenient": False, "coerce_one_of": False, "whitespace_pattern": r"\n? {0,24}"}
"""Keywords are followed or refused; and white space ends, for a model may like nothing better."""
PROBE = "".join(map(chr, range(32, 127))) + "\n\u00e9\u20ac\U0001f600"
"""What a tokenizer must be able to write."""


class Grammar:
    """One answer's place in its schema."""

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher
        self.latest: int | None = None
        """Token that the matcher has not taken yet: it does while the model runs."""

    def complete(self) -> bool:
        """Whether nothing but an end token can follow what has come."""
        if self.latest is not None:
            self.matcher.consume_token(self.latest)
            self.latest = None
        return self.matcher.is_stopped() and not self.matcher.is_error()


class Grammars:
    """Compiled JSON schemas, for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, ends: frozenset[int]) -> None:
        """Args:
        tokenizer: the fast one.
        vocabulary: of the model, which may be larger.
        ends: tokens that end an answer; allowed where the schema is fulfilled.
        """
        self._load = lru_cache(maxsize=1)(lambda: _tokenizer(tokenizer, vocabulary, ends))
        self._compiled = lru_cache(maxsize=KEPT)(self._compile)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammars")

    def load(self) -> None:
        """Reads the tokenizer, which else the first schema does; other threads stand still meanwhile."""
        try:
            self._load()
        except UnusableSchemaError:
            return  # said to whoever asks for a schema

    def grammar(self, schema: str) -> Grammar:
        """The beginning of an answer; compiles the schema unless it is kept.

        Raises:
            UnusableSchemaError: this tokenizer cannot be held to a schema, or not to this one.
        """
        return Grammar(self._compiled(schema).deep_copy())

    async def compile(self, schema: str) -> None:
        """Compiles and keeps a schema, beside the event loop.

        Raises:
            UnusableSchemaError: as in `grammar`, or it takes too long.
        """
        compiled = asyncio.wrap_future(self._thread.submit(self._compiled, schema))
        try:
            await asyncio.wait_for(compiled, COMPILE_SECONDS)
        except TimeoutError:
            raise UnusableSchemaError(
                f"the schema was not compiled within {COMPILE_SECONDS:g} s; simplify it"
            ) from None

    def _compile(self, schema: str) -> LLMatcher:
        tokenizer = self._load()
        from llguidance import LLMatcher, LLParserLimits

        try:
            text = LLMatcher.grammar_from_json_schema(schema, overrides=OPTIONS)  # type: ignore[arg-type]
        except ValueError as error:
            raise UnusableSchemaError(f"the schema is not one: {error}") from None
        limits = LLParserLimits(step_lexer_fuel=LEXER_FUEL, step_max_items=PARSER_ITEMS, verbose_errors=False)
        matcher = LLMatcher(tokenizer, text, log_level=0, limits=limits)
        if not matcher.is_error():
            matcher.compute_bitmask()  # some schemas show only now that nothing fulfils them
        if matcher.is_error():
            raise UnusableSchemaError(f"the schema cannot be followed: {_reason(matcher)}")
        return matcher


class TokenMasks:
    """Which tokens may come next in each structured row of a batch, found while the model runs."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self._rows: list[int] = []
        self._executor: LLExecutor | None = None
        self._found: Future[tuple[Tensor, dict[int, str]]] | None = None

    def begin(self, grammars: Items[Grammar | None]) -> None:
        """Begins to find the masks of a step, in another thread.

        Args:
            grammars: [S], None for free rows.
        """
        self._rows = [i for i, grammar in enumerate(grammars) if grammar is not None]
        structured = [grammar for grammar in grammars if grammar is not None]
        self._found = self._thread.submit(self._find, structured) if structured else None

    def apply(self, logits: Tensor) -> dict[int, str]:
        """Forbids what may not come next, in [S, V] logits; rows without a grammar stay as they are.

        Returns:
            Why rows cannot go on, by their number.
        """
        if self._found is None:
            return {}
        rows = self._rows
        forbidden, lost = self._found.result()
        forbidden = forbidden.to(logits.device, non_blocking=True)
        if len(rows) == len(logits):
            logits.masked_fill_(forbidden, float("-inf"))
        else:
            chosen = on_device(rows, logits.device)
            logits[chosen] = logits[chosen].masked_fill(forbidden, float("-inf"))
        return {rows[n]: reason for n, reason in lost.items()}

    def _find(self, grammars: list[Grammar]) -> tuple[Tensor, dict[int, str]]:
        """What is forbidden, [rows, V], and why rows cannot go on."""
        from llguidance import LLExecutor

        matchers = [grammar.matcher for grammar in grammars]
        executor = self._executor = self._executor or LLExecutor(1)
        if taken := [(grammar.matcher, grammar.latest) for grammar in grammars if grammar.latest is not None]:
            executor.consume_token_par(taken)
        for grammar in grammars:
            grammar.latest = None
        words = np.empty((len(matchers), -(-self.vocabulary // 32)), np.int32)
        executor.unsafe_compute_mask_ptr(
            [(matcher, i) for i, matcher in enumerate(matchers)], words.ctypes.data, words[0].nbytes, len(words)
        )
        allowed = np.unpackbits(words.view(np.uint8), axis=1, count=self.vocabulary, bitorder="little")
        return torch.from_numpy(allowed == 0), {i: _reason(m) for i, m in enumerate(matchers) if m.is_error()}


def _reason(matcher: LLMatcher) -> str:
    if matcher.get_error().startswith("NoExtension"):
        return "nothing fulfils it"
    return " ".join(matcher.get_error().partition("<")[0].split())[:200]


def _tokenizer(tokenizer: Tokenizer, vocabulary: int, ends: frozenset[int]) -> LLTokenizer:
    """The tokenizer as llguidance has it."""
    try:
        import llguidance
    except ImportError:
        raise UnusableSchemaError("schemas need the package llguidance; install it") from None
    if not ends:
        raise UnusableSchemaError("the model's tokenizer has no end token")
    copy: Any = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    # The text of an end token that is not marked as special would else be taken for text.
    copy.add_special_tokens([text for end in sorted(ends) if (text := copy.id_to_token(end)) is not None])
    try:
        slices = llguidance.LLTokenizer.json_slices()
        read = llguidance.LLTokenizer(copy.to_str(), vocabulary, sorted(ends), slices)
        if read.decode_bytes(read.tokenize_bytes(PROBE.encode())) == PROBE.encode():
            return read
    except ValueError:
        pass  # neither byte-level nor with byte fallback
    raise UnusableSchemaError("the model's tokenizer cannot write all of JSON, only text is possible")

"""Scorers of text, by name: what a generated answer is worth to one objective.

    positivity, brevity, dialogue     English sentiment, short sentences, speech
    shortness, plainness              few words, words of few syllables
    cheerful, brief, vivid            the objectives of the synthetic reviews
    module:function                   any function (prompts, responses) -> one number each
    hub:NAME_OR_FOLDER                a sequence-classification reward model, evaluation/reward_model.py

A scorer works on batches: (prompts, responses) -> scores, lists of one length; higher is better.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cosdpo.data.synthetic_text import SCORERS
from cosdpo.errors import InputError

Scorer = Callable[[Sequence[str], Sequence[str]], list[float]]


def resolve(spec: str) -> Scorer:
    """The scorer that `spec` names, ready to use: modules are imported and models loaded here.

    Raises:
        InputError: unknown name, missing package, module or function, or an unusable reward model.
    """
    if spec.startswith("hub:"):
        from cosdpo.evaluation.reward_model import RewardModel

        return RewardModel(spec.removeprefix("hub:"))
    if ":" in spec:
        return _imported(spec)
    if spec == "positivity":
        return _each(_positivity())
    if spec not in TEXT_SCORERS:
        names = ", ".join(["positivity", *TEXT_SCORERS])
        raise InputError(f"evaluation.scorers: there is no scorer {spec!r}; take {names}, MODULE:FUNCTION or hub:NAME")
    return _each(TEXT_SCORERS[spec])


def brevity(prompt: str, response: str) -> float:
    """Minus the mean number of words per sentence; 0 without a sentence.

    Sentences are what stands between runs of . ! ? and words what stands between white space.
    """
    lengths = [len(sentence.split()) for sentence in re.split(r"[.!?]+", response) if sentence.strip()]
    return -sum(lengths) / len(lengths) if lengths else 0.0


def dialogue(prompt: str, response: str) -> float:
    """Share of words inside double quotes, in [0, 1]; a quote that is not closed runs to the end."""
    words = len(response.split())
    quoted = sum(len(quote.split()) for quote in re.findall(r'"([^"]*)', response)[::2]) if words else 0
    return quoted / words if words else 0.0


def shortness(prompt: str, response: str) -> float:
    """Minus the number of words."""
    return -float(len(response.split()))


def plainness(prompt: str, response: str) -> float:
    """Minus the mean number of syllables per word of the letters a to z, counted as its runs of vowels; an e that ends
    a word is none of its own. 0 without a word.
    """
    words = re.findall(r"[a-z]+", response.lower())
    syllables = (max(1, len(re.findall(r"[aeiouy]+", re.sub(r"(?<=[^aeiouy])e$", "", word)))) for word in words)
    return -sum(syllables) / len(words) if words else 0.0


TEXT_SCORERS: dict[str, Callable[[str, str], float]] = {
    "brevity": brevity,
    "dialogue": dialogue,
    "shortness": shortness,
    "plainness": plainness,
    **SCORERS,
}


def _positivity() -> Callable[[str, str], float]:
    """VADER's compound sentiment, in [-1, 1] (Hutto and Gilbert 2014)."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        raise InputError("the scorer positivity needs VADER; run: pip install vaderSentiment") from None
    analyzer = SentimentIntensityAnalyzer()
    return lambda prompt, response: float(analyzer.polarity_scores(response)["compound"])


def _each(score: Callable[[str, str], float]) -> Scorer:
    return lambda prompts, responses: [score(x, y) for x, y in zip(prompts, responses, strict=True)]


def _imported(spec: str) -> Scorer:
    """A user's function, whose results are checked on every call because a wrong one would spoil the front silently."""
    module_name, _, name = spec.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a script of jobs/ only sees jobs/, not the folder that it is run from
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, ValueError) as error:
        raise InputError(f"evaluation.scorers: cannot import {module_name!r} of {spec!r} ({error}); mend it") from None
    except AttributeError:
        raise InputError(f"evaluation.scorers: {module_name!r} has no function {name!r}; mend {spec!r}") from None
    if not callable(function):
        raise InputError(f"evaluation.scorers: {spec!r} is not a function; give one of (prompts, responses)")

    def scorer(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        scores = [float(score) for score in function(prompts, responses)]
        if len(scores) != len(responses) or not all(map(math.isfinite, scores)):
            raise InputError(
                f"{spec!r} gave {scores[:3]}... for {len(responses)} texts; return a finite number for each"
            )
        return scores

    return scorer

"""Choosing tokens: against probabilities worked out by hand and by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from serve.engine.requests import SamplingParams
from serve.engine.sampling import NUCLEUS, SamplingSettings, choose, log_probabilities, uniforms


def settings(vocabulary: int, *rows: dict[str, float]) -> SamplingSettings:
    return SamplingSettings.of([SamplingParams(**row) for row in rows], vocabulary, torch.device("cpu"))


def support(logits: torch.Tensor, row: dict[str, float], draws: int = 400) -> dict[int, float]:
    """Share of each token over evenly spread uniform numbers."""
    spread = [(i + 0.5) / draws for i in range(draws)]
    tokens, _ = choose(logits.repeat(draws, 1), settings(logits.numel(), *[row] * draws), spread)
    found, counts = tokens.unique(return_counts=True)
    return dict(zip(found.tolist(), (counts / draws).tolist(), strict=True))


PROBABILITIES = [0.1, 0.4, 0.05, 0.25, 0.2]
LOGITS = torch.tensor(PROBABILITIES).log() + 3.0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, {0: 0.1, 1: 0.4, 2: 0.05, 3: 0.25, 4: 0.2}),
        ({"top_k": 2}, {1: 0.4 / 0.65, 3: 0.25 / 0.65}),
        ({"top_k": 99}, {0: 0.1, 1: 0.4, 2: 0.05, 3: 0.25, 4: 0.2}),
        ({"top_p": 0.39}, {1: 1.0}),
        ({"top_p": 0.41}, {1: 0.4 / 0.65, 3: 0.25 / 0.65}),
        ({"top_p": 0.84}, {1: 0.4 / 0.85, 3: 0.25 / 0.85, 4: 0.2 / 0.85}),
        ({"top_k": 3, "top_p": 0.75}, {1: 0.4 / 0.65, 3: 0.25 / 0.65}),  # .65 is .76 of the .85 that top_k leaves
        ({"top_k": 3, "top_p": 0.77}, {1: 0.4 / 0.85, 3: 0.25 / 0.85, 4: 0.2 / 0.85}),
        ({"top_p": 0.0}, {1: 1.0}),
        ({"min_p": 0.5}, {1: 0.4 / 0.85, 3: 0.25 / 0.85, 4: 0.2 / 0.85}),  # at least half of .4
        ({"min_p": 0.51}, {1: 0.4 / 0.65, 3: 0.25 / 0.65}),
        ({"min_p": 0.3, "temperature": 0.5}, {1: 0.16 / 0.2225, 3: 0.0625 / 0.2225}),  # of p^2: .3 of .16 is .048
        ({"min_p": 0.1, "top_k": 2}, {1: 0.4 / 0.65, 3: 0.25 / 0.65}),
        ({"temperature": 0.5}, {i: p * p / 0.275 for i, p in enumerate(PROBABILITIES)}),
        ({"temperature": 0.0}, {1: 1.0}),
        ({"temperature": 1e-4}, {1: 1.0}),
    ],
)
def test_each_setting_by_hand(row, expected):
    found = support(LOGITS, row)
    assert found == pytest.approx(expected, abs=0.0051)
    assert found.keys() == expected.keys()


def test_rows_of_one_batch_keep_their_own_settings():
    rows = [{"temperature": 0.0}, {"top_k": 2}, {}, {"top_p": 0.41}]
    tokens, sound = choose(LOGITS.repeat(4, 1), settings(5, *rows), [0.99, 0.99, 0.99])
    assert tokens.tolist() == [1, 3, 4, 3]
    assert sound.all()


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("top_k", [0, 3, 700])
def test_filters_over_a_large_vocabulary_against_sorting(top_k, top_p):
    vocabulary = 20 * NUCLEUS
    logits = torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[0.1], [1.0], [4.0]]
    )
    for row in logits:
        p, order = row.double().softmax(-1).sort(descending=True)
        p = p[: top_k or vocabulary] / p[: top_k or vocabulary].sum()
        kept = int((p.cumsum(0) - p < top_p).sum())
        for u in (0.0, 0.5, 1 - 1e-9):
            expected = set(order[:kept].tolist())
            tokens, _ = choose(row[None].clone(), settings(vocabulary, {"top_k": top_k, "top_p": top_p}), [u])
            assert int(tokens) in expected
        # The last of the kept ids in the order of the vocabulary is what the largest uniform number finds.
        assert int(tokens) == max(expected)


def test_frequencies_follow_the_law():
    rng = np.random.default_rng(0)
    law = torch.softmax(torch.randn(30, generator=torch.Generator().manual_seed(1)), -1)
    rows = 4000
    tokens, _ = choose(law.log().repeat(rows, 1), settings(30, *[{}] * rows), rng.random(rows).tolist())
    counts = torch.bincount(tokens, minlength=30).numpy()
    assert stats.chisquare(counts, law.double().numpy() / float(law.double().sum()) * rows).pvalue > 1e-3


def test_a_row_of_nan_is_told_and_banned_tokens_never_come():
    logits = LOGITS.repeat(3, 1)
    logits[1, 2] = math.nan
    logits[2, 4] = -math.inf
    tokens, sound = choose(logits, settings(5, {}, {}, {}), [0.5, 0.5, 1 - 1e-12])
    assert sound.tolist() == [True, False, True]
    assert int(tokens[2]) == 3


def test_uniform_numbers_depend_on_the_seed_and_the_place_alone():
    assert uniforms(5, 3).tolist() == uniforms(5, 10)[:3].tolist()
    assert uniforms(5, 3).tolist() != uniforms(6, 3).tolist()
    assert uniforms(None, 3).tolist() != uniforms(None, 3).tolist()
    assert uniforms(-1, 3).shape == (3,)
    assert stats.kstest(uniforms(0, 5000), "uniform").pvalue > 1e-3


def test_log_probabilities_by_hand():
    own, top, ids = log_probabilities(LOGITS[None], torch.tensor([2]), 2)
    assert own.exp().tolist() == pytest.approx([0.05])
    assert top.exp()[0].tolist() == pytest.approx([0.4, 0.25])
    assert ids.tolist() == [[1, 3]]

"""Synthetic query lists: judged documents in MSLR's schema, made by the package at any size up to MSLR-WEB10K's.

Every document has a few hidden properties: how well it matches its query, its authority, freshness, popularity, quality
and length, and how much its title promises beyond what it holds ("bait"). The label, the five auxiliary objectives and
all inputs are noisy functions of them, so that the objectives can be learnt from the inputs, but only to a degree, and
pull apart: matching pages serve the label, bait brings clicks and spoils quality and dwell time, authority comes with
age, and quality score 2 rewards freshness.

Features 1 to 125 are MSLR's 25 kinds of text statistics by stream (body, anchor, title, URL, whole document), feature
5 * kind + stream; 126 to 131 describe URL and links; 132 to 136 are the objectives. More is better in all of the last
five, also in 133, where MSLR counts the other way. Clicks are less rare than in MSLR, so that more lists have a
preference. Everything is a function of (seed, number of the chunk of queries): a larger set begins with the smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np

from cosdpo.arrays import Integers, Singles
from cosdpo.data import letor
from cosdpo.data.letor_parser import Documents
from cosdpo.files import cache_folder

VERSION = 1
"""To be raised with every change of what is made, so that no cached file is stale."""
CHUNK = 128
"""Queries that are made at once."""
FEATURES = 136
LONGEST = 1_251
"""Documents of the longest list, as in MSLR."""
SHARES = (0.52, 0.32, 0.13, 0.02, 0.01)
"""How frequent the labels 0 to 4 are, as in MSLR."""
OBJECTIVES = {"quality": 132, "quality2": 133, "query_url_click": 134, "url_click": 135, "url_dwell": 136}
"""Feature numbers of the auxiliary objectives."""

# What the streams show of a document, in the order of _latents: match, authority, freshness, popularity, quality,
# length, bait.
_STREAMS = np.array(
    [
        [0.8, 0.0, 0.0, 0.0, 0.5, 0.3, 0.0],  # body
        [0.5, 0.5, -0.3, 0.6, 0.0, 0.0, 0.0],  # anchor
        [0.6, 0.0, 0.0, 0.0, -0.2, 0.0, 0.7],  # title
        [0.4, 0.3, 0.0, 0.3, 0.0, -0.3, 0.5],  # URL
        [0.8, 0.0, 0.2, 0.0, 0.4, 0.4, 0.2],  # whole document
    ],
    np.float32,
)
_ABSENT = (0.08, 0.75, 0.25, 0.5, 0.05)
"""Share of documents without a word of the query in the stream: all statistics of terms are 0 there."""

# Kind of statistic: form, weight of the stream's latent, of the length, of the query, of the noise.
_KINDS: tuple[tuple[str, float, float, float, float], ...] = (
    ("count", 0.3, 0.0, 0.4, 0.2),  # covered query terms
    ("share", 1.0, 0.0, -0.3, 0.6),  # and their share
    ("length", 0.1, 0.8, 0.0, 0.5),  # stream length
    ("query", 0.0, 0.0, 1.0, 0.0),  # IDF
    ("heavy", 0.7, 0.6, 0.2, 0.4),  # sum of term frequency
    ("count", 0.7, 0.4, -0.4, 0.5),  # minimum
    ("heavy", 0.6, 0.6, 0.1, 0.5),  # maximum
    ("heavy", 0.7, 0.5, -0.1, 0.4),  # mean
    ("variance", 0.6, 0.6, 0.1, 0.6),  # variance
    ("small", 0.8, -0.5, 0.2, 0.4),  # the same of term frequency by stream length
    ("small", 0.7, -0.4, -0.4, 0.5),
    ("small", 0.7, -0.5, 0.1, 0.5),
    ("small", 0.8, -0.5, -0.1, 0.4),
    ("tiny", 0.6, -0.5, 0.1, 0.6),
    ("heavy", 0.8, 0.5, 0.5, 0.4),  # the same of tf * idf
    ("heavy", 0.7, 0.4, 0.1, 0.5),
    ("heavy", 0.7, 0.5, 0.4, 0.5),
    ("heavy", 0.8, 0.4, 0.3, 0.4),
    ("variance", 0.7, 0.5, 0.4, 0.6),
    ("flag", 1.0, 0.0, -0.3, 0.6),  # Boolean model
    ("share", 1.2, -0.2, 0.0, 0.5),  # vector space model
    ("score", 1.0, 0.0, 0.5, 0.4),  # BM25
    ("likelihood", 0.9, 0.1, -0.5, 0.5),  # language models: absolute discounting, Dirichlet, Jelinek-Mercer
    ("likelihood", 0.9, 0.3, -0.5, 0.6),
    ("likelihood", 1.0, 0.0, -0.5, 0.5),
)
_TYPICAL_LENGTH = (440, 4, 6, 7, 460)
"""Words in the middle of each stream's distribution."""
_ALWAYS = ("length", "query", "likelihood")
"""Forms that have a value even where no word of the query stands in the stream."""


def write(queries: int, seed: int) -> Path:
    """The first `queries` queries of the set of `seed` as Parquet for `letor.load`, made once and then cached.

    10,000 queries have about 1.2 million documents.
    """
    path = cache_folder() / f"ranking-world-v{VERSION}-{queries}-{seed}.parquet"
    if not path.exists():
        letor.store(path, chunks(queries, seed))
    return path


def chunks(queries: int, seed: int) -> Iterator[Documents]:
    """The documents of the first `queries` queries, by the chunk."""
    for chunk in range(-(-queries // CHUNK)):
        rng = np.random.default_rng([seed, chunk])
        lengths = list_lengths(CHUNK, rng)
        relevance, features = _documents(lengths, rng)
        kept = lengths[: queries - chunk * CHUNK]
        ids = [str(chunk * CHUNK + i + 1) for i, length in enumerate(kept.tolist()) for _ in range(length)]
        yield Documents(ids, relevance[: len(ids)], features[: len(ids)], [""] * len(ids))


def list_lengths(queries: int, rng: np.random.Generator) -> Integers:
    """[queries] documents per query: 1 to 1,251, about 120 on average and 110 in the middle.

    Most queries follow a lognormal distribution, a few are rare or broad ones with shorter or longer lists; fitted by
    eye to the range and the mean that are published for MSLR.
    """
    usual = rng.lognormal(np.log(111), 0.36, queries)
    rare = rng.uniform(1, 60, queries)
    broad = rng.lognormal(np.log(260), 0.5, queries)
    sort = rng.random(queries)
    lengths = np.select([sort < 0.04, sort < 0.07], [rare, broad], usual)
    whole: Integers = np.clip(lengths, 1, LONGEST).astype(np.int64)
    return whole


def _documents(lengths: Integers, rng: np.random.Generator) -> tuple[Singles, Singles]:
    """Labels [N] and features [N, 136] of the lists."""
    n = int(lengths.sum())
    # Of each query: how common it is, how many pages serve it, how much freshness counts.
    common, served, timely = np.repeat(rng.standard_normal((3, len(lengths)), np.float32), lengths, axis=1)
    latents = _latents(n, rng)
    match, authority, freshness, popularity, quality, length, bait = latents.T

    # Of variance 1 altogether, about a third of it noise; the thresholds rely on that.
    merit = 0.5 * match + 0.22 * authority + 0.25 * quality - 0.2 * bait + 0.12 * popularity
    merit += 0.12 * timely * freshness + 0.35 * served + 0.6 * rng.standard_normal(n, np.float32)
    bounds = [NormalDist().inv_cdf(share) for share in np.cumsum(SHARES[:-1])]
    relevance = np.searchsorted(bounds, merit).astype(np.float32)

    features = np.empty((n, FEATURES), np.float32)
    features[:, :125] = _text(latents, common, rng)
    noise = rng.standard_normal((11, n), np.float32)
    features[:, 125] = np.clip(np.round(2.2 - 0.5 * authority + 0.6 * bait + 0.7 * noise[0]), 1, 12)  # slashes in URL
    features[:, 126] = np.round(np.exp(3.6 - 0.15 * authority + 0.25 * bait + 0.25 * noise[1]))  # length of URL
    features[:, 127] = _count(1.5 + 1.6 * authority + 1.4 * popularity - 1.0 * freshness + 1.2 * noise[2])  # inlinks
    features[:, 128] = _count(0.4 + 0.7 * quality + 0.8 * freshness + 0.9 * noise[3])  # outlinks
    features[:, 129] = _rank(0.9 * authority + 0.5 * popularity - 0.4 * freshness + 0.7 * noise[4])  # page rank
    features[:, 130] = _rank(0.7 * authority + 0.5 * quality + 0.9 * noise[5])  # site rank
    features[:, 131] = _score(0.9 * quality + 0.4 * authority - 0.5 * bait - 0.3 * popularity + 0.7 * noise[6])
    features[:, 132] = _score(0.8 * freshness + 0.5 * quality - 0.5 * authority + 0.3 * bait + 0.7 * noise[7])
    drawn = 0.6 * match + 0.8 * popularity + 0.7 * bait + 0.4 * common - 0.2 * quality
    features[:, 133] = _count(1.4 * drawn - 2.0 + 0.6 * noise[8])
    features[:, 134] = _count(1.8 * (popularity + 0.5 * bait - 0.3 * freshness - 0.2 * quality) - 0.3 + noise[9])
    stay = 0.3 * quality + 0.7 * length - 0.4 * bait + 0.1 * match - 0.2 * popularity
    features[:, 135] = np.maximum(0, np.expm1(1.6 * stay + 0.2 + noise[10]))
    return relevance, features


def _latents(n: int, rng: np.random.Generator) -> Singles:
    """[N, 7] match, authority, freshness, popularity, quality, length and bait, each of mean 0 and deviation 1."""
    latents = rng.standard_normal((n, 7), np.float32)
    _, authority, freshness, popularity, quality, length, bait = latents.T
    freshness[:] = -0.5 * authority + np.sqrt(0.75) * freshness
    popularity[:] = 0.4 * authority + 0.3 * bait + np.sqrt(0.75) * popularity
    quality[:] = 0.3 * authority - 0.4 * bait + np.sqrt(0.75) * quality
    length[:] = 0.3 * quality + np.sqrt(0.91) * length
    return latents


def _text(latents: Singles, common: Singles, rng: np.random.Generator) -> Singles:
    """[N, 125] text statistics by kind and stream."""
    n = len(latents)
    length = latents[:, 5]
    features = np.empty((n, 25, 5), np.float32)
    for stream, (weights, absent) in enumerate(zip(_STREAMS, _ABSENT, strict=True)):
        shown = latents @ (weights / np.linalg.norm(weights))
        present = 0.6 * shown + 0.8 * rng.standard_normal(n, np.float32) > NormalDist().inv_cdf(absent)
        noise = rng.standard_normal((len(_KINDS), n), np.float32)
        for kind, (form, of_shown, of_length, of_query, of_noise) in enumerate(_KINDS):
            z = of_shown * shown + of_length * length - of_query * common + of_noise * noise[kind]
            values = _form(form, z, _TYPICAL_LENGTH[stream])
            features[:, kind, stream] = values if form in _ALWAYS else np.where(present, values, 0)
    return features.reshape(n, 125)


def _form(form: str, z: Singles, typical: float) -> Singles:
    """A monotone function of z, which has a mean of 0 and a deviation of about 1, in the range of that statistic."""
    values: Singles
    match form:
        case "count":
            values = np.clip(np.round(1.8 + 1.1 * z), 0, 10)
        case "share":
            values = np.clip(0.6 + 0.35 * z, 0, 1)
        case "length":
            values = np.round(typical * np.exp(0.8 * z))
        case "query":
            values = 18 + 5 * z
        case "heavy":
            values = _count(1.6 + 1.2 * z)
        case "variance":
            values = np.exp(0.5 + 2 * z)
        case "small":
            values = np.minimum(1, np.exp(0.9 * z - 3.5))
        case "tiny":
            values = np.minimum(1, np.exp(2 * z - 9))
        case "flag":
            values = (z > -0.3).astype(np.float32)
        case "score":
            values = np.maximum(0, 20 + 10 * z)
        case "likelihood":
            values = -np.exp(2.3 - 0.45 * z)
        case _:
            raise ValueError(f"unknown form {form}")
    return values


def _count(z: Singles) -> Singles:
    """A heavy-tailed whole number, 0 below log 2."""
    values: Singles = np.floor(np.exp(np.minimum(z, 16))) * (z > np.log(2))
    return values


def _rank(z: Singles) -> Singles:
    """1 to 65,535, as MSLR's page and site ranks."""
    values: Singles = np.round(1 + 65_534 / (1 + np.exp(-1.5 * z)))
    return values


def _score(z: Singles) -> Singles:
    """1 to 254, as MSLR's quality scores, most of them low."""
    values: Singles = np.clip(np.round(np.exp(1.9 + 1.3 * z)), 1, 254)
    return values

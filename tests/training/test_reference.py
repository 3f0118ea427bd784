"""The reference cache: what its key depends on, what it never reads, and that it holds the base's scores."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.training import reference
from cosdpo.training.reference import ReferenceActor, ReferenceCache, cache_key, model_fingerprint, reference_scores
from tests.tiny_models import preferences, settings, write_model

CONTEXTS = [TokenizedContext([3, 4], [[5], [6, 7]]), TokenizedContext([8], [[9, 10], [11]])]
SCORES = [np.array([-1.5, -2.25]), np.array([-0.1, -1e-17])]


@pytest.mark.parametrize(
    "contexts",
    [
        [TokenizedContext([3, 5], [[5], [6, 7]]), CONTEXTS[1]],
        [TokenizedContext([3, 4], [[5], [6]]), CONTEXTS[1]],
        [TokenizedContext([3, 4], [[6, 7], [5]]), CONTEXTS[1]],
        [TokenizedContext([3], [[4, 5], [6, 7]]), CONTEXTS[1]],  # the same ids, parted elsewhere
        [TokenizedContext([3, 4], [[5, 6], [7]]), CONTEXTS[1]],
        [TokenizedContext([3, 4], [[5], [6, 7], [8], [9, 10], [11]])],
        CONTEXTS[::-1],
        CONTEXTS[:1],
        [*CONTEXTS, CONTEXTS[0]],
    ],
)
def test_the_key_depends_on_every_token_and_its_place(contexts):
    assert cache_key("model", "float32", contexts) != cache_key("model", "float32", CONTEXTS)


def test_the_key_depends_on_model_and_type_and_on_nothing_else():
    key = cache_key("model", "float32", CONTEXTS)
    assert cache_key("model", "float32", list(CONTEXTS)) == key
    assert len({key, cache_key("other", "float32", CONTEXTS), cache_key("model", "bfloat16", CONTEXTS)}) == 3


class TestFingerprint:
    def test_of_a_folder_is_of_its_content(self, base, tmp_path):
        here = model_fingerprint(str(base), None)
        copy = shutil.copytree(base, tmp_path / "copy")
        assert model_fingerprint(str(copy), None) == here
        assert model_fingerprint(str(write_model(tmp_path / "untied", "gpt2-untied")), None) != here

    @pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
    def test_changes_with_a_single_byte(self, base, tmp_path, file):
        copy = shutil.copytree(base, tmp_path / "copy")
        content = bytearray((copy / file).read_bytes())
        content[-2] ^= 1
        (copy / file).write_bytes(content)
        assert model_fingerprint(str(copy), None) != model_fingerprint(str(base), None)

    def test_of_a_hub_model_is_its_commit(self):
        assert model_fingerprint("gpt2", "abc") != model_fingerprint("gpt2", "abd")
        assert model_fingerprint("gpt2", "abc") != model_fingerprint("gpt3", "abc")


class TestCache:
    def test_round_trip_is_exact(self, tmp_path):
        cache = ReferenceCache(tmp_path)
        assert cache.load("k") is None
        cache.store("k", SCORES)
        for ours, expected in zip(ReferenceCache(tmp_path).load("k") or [], SCORES, strict=True):
            np.testing.assert_array_equal(ours, expected)
        assert cache.load("other") is None

    def test_its_folder_is_cosdpo_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "there"))
        ReferenceCache().store("k", SCORES)
        assert list((tmp_path / "there").rglob("*.parquet"))
        assert ReferenceCache().load("k") is not None

    def test_a_half_written_file_is_never_read(self, tmp_path, monkeypatch):
        cache, whole = ReferenceCache(tmp_path), pq.write_table

        def killed(table: pa.Table, path: object) -> None:
            whole(table, path)
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            raise KeyboardInterrupt

        monkeypatch.setattr(pq, "write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            cache.store("k", SCORES)
        assert cache.load("k") is None
        monkeypatch.undo()
        cache.store("k", SCORES)
        assert cache.load("k") is not None


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """An own cache folder, and how many contexts each scoring pass was asked for."""
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "cache"))
    passes: list[int] = []

    def score(config: object, contexts: list[TokenizedContext]) -> list[np.ndarray]:
        passes.append(len(contexts))
        return [np.array([-float(sum(y)) for y in c.candidates]) for c in contexts]

    monkeypatch.setattr(reference, "_score", score)
    return passes


def test_both_sides_are_scored_in_one_pass_and_then_read(base, counted):
    config = settings(base)
    sides = [CONTEXTS, [TokenizedContext([3], [[4], [5, 6], [7]])]]
    expected = [[[-5, -13], [-19, -11]], [[-4, -11, -7]]]
    for _ in range(2):
        scores = reference_scores(config, "model", sides)
        assert [[row.tolist() for row in side] for side in scores] == expected
    assert counted == [3]
    # Another held-out side: the known one is read, the new one scored.
    scores = reference_scores(config, "model", [CONTEXTS, CONTEXTS[:1]])
    assert [[row.tolist() for row in side] for side in scores] == [expected[0], expected[0][:1]]
    assert counted == [3, 1]


def test_scores_of_another_type_are_not_taken_for_these(base, counted):
    reference_scores(settings(base), "model", [CONTEXTS])  # on a CPU: float32
    reference_scores(settings(base, model__dtype="float32"), "model", [CONTEXTS])
    assert counted == [2]
    reference_scores(settings(base, scaling__use_gpu=True), "model", [CONTEXTS])  # on a GPU: bfloat16
    assert counted == [2, 2]


def test_an_actor_scores_its_block_like_the_base(base):
    config = settings(base)
    data = preferences(base, config, contexts=5)
    ids = pa.list_(pa.int32())
    block = pa.table(
        {
            "row": [4, 0, 2],
            "prompt": pa.array([data.contexts[i].prompt for i in (4, 0, 2)], ids),
            "candidates": pa.array([data.contexts[i].candidates for i in (4, 0, 2)], pa.list_(ids)),
        }
    )
    scored = ReferenceActor(config)(block).to_pylist()
    assert [row["row"] for row in scored] == [4, 0, 2]
    for row in scored:
        assert row["scores"] == pytest.approx(data.reference[row["row"]].tolist(), abs=1e-4)

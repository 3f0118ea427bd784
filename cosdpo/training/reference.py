"""Reference scores log pi_ref(y_i | x), computed once and shared by every run, method, seed and sweep trial.

The cache is content-addressed: its key is a hash of the base model's weights and of the token ids scored, so that a
changed tokenizer, template, truncation or row leads to another file and nothing is ever stale. Files are Parquet,
written under a temporary name and renamed: a half-written one is never read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from cosdpo.activity import counting
from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.files import cache_folder, whole_file
from cosdpo.training.devices import base_dtype, worker_device


def model_fingerprint(name: str, commit: str | None) -> str:
    """Identifies the weights of a base: the hub's commit, or a hash of a local file or a folder's files."""
    place = Path(name)
    if not place.exists():
        return f"{name}@{commit}"
    digest = hashlib.sha256()
    for path in [place] if place.is_file() else sorted([*place.glob("*.safetensors"), place / "config.json"]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def cache_key(fingerprint: str, dtype: str, contexts: Sequence[TokenizedContext]) -> str:
    """sha256 over the model and every token id, in order."""
    digest = hashlib.sha256(f"{fingerprint} {dtype}\n".encode())
    for context in contexts:
        context.add_to(digest)
    return digest.hexdigest()


REFERENCE = "reference scores"
"""What the pass over the data is called."""


class ReferenceCache:
    """Parquet files of reference scores under one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or cache_folder()) / "reference"

    def load(self, key: str) -> list[Floats] | None:
        """Scores per context, or None when they were not computed yet."""
        path = self.folder / f"{key}.parquet"
        if not path.exists():
            return None
        return [np.asarray(row) for row in pq.read_table(path)["scores"].to_pylist()]

    def store(self, key: str, scores: Sequence[Floats]) -> None:
        """Writes the file whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table = pa.table({"scores": pa.array([s.tolist() for s in scores], type=pa.list_(pa.float64()))})
        with whole_file(self.folder / f"{key}.parquet") as temporary:
            pq.write_table(table, temporary)


class ReferenceActor:
    """Scores blocks of tokenised contexts with the frozen base; one actor per worker of a Ray Data pipeline."""

    def __init__(self, config: Config) -> None:
        from cosdpo.models.base import load_base
        from cosdpo.models.frozen_scorer import FrozenScorer

        self.config = config
        device = worker_device(self.config.scaling.use_gpu)
        torch.set_num_threads(self.config.scaling.worker_threads)
        model = self.config.model
        base = load_base(model.base, base_dtype(self.config, device), model.quantization)
        self.scorer = FrozenScorer.of(base).to(device)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Scores of a block of rows {row, prompt, candidates}, as {row, scores}."""
        contexts = [TokenizedContext(**row) for row in block.select(["prompt", "candidates"]).to_pylist()]
        with counting(self.config.output, REFERENCE, len(contexts)):
            scores = self.scorer.all_references(contexts, self.config.evaluation.batch_tokens)
        return pa.table({"row": block["row"], "scores": pa.array(scores, type=pa.list_(pa.float64()))})


def reference_scores(
    config: Config, fingerprint: str, sides: Sequence[Sequence[TokenizedContext]]
) -> list[list[Floats]]:
    """log pi_ref of every candidate, per side (training, held-out) and context, [n].

    Sides that the cache knows are read; the others are scored together, in parallel by Ray Data, which needs a
    running Ray.
    """
    cache = ReferenceCache()
    dtype = str(base_dtype(config, torch.device("cuda" if config.scaling.use_gpu else "cpu")))
    if config.model.quantization != "none":
        dtype = config.model.quantization
    keys = [cache_key(fingerprint, dtype, side) for side in sides]
    of_sides = [cache.load(key) for key in keys]
    missing = [i for i, scores in enumerate(of_sides) if scores is None]
    if missing:
        fresh = iter(_score(config, [context for i in missing for context in sides[i]]))
        for i in missing:
            scores = [next(fresh) for _ in sides[i]]
            cache.store(keys[i], scores)
            of_sides[i] = scores
    return [scores for scores in of_sides if scores is not None]


def _score(config: Config, contexts: Sequence[TokenizedContext]) -> list[Floats]:
    """Scores `contexts` on as many actors as the run has workers, or where no GPU holds the base on these together."""
    import ray

    if config.scaling.shards_the_base:
        from cosdpo.training.sharded_reference import score  # needs Ray Train, which the cache alone does not

        return score(config, contexts)
    ids = pa.list_(pa.int32())
    table = pa.table(
        {
            "row": pa.array(range(len(contexts))),
            "prompt": pa.array([c.prompt for c in contexts], type=ids),
            "candidates": pa.array([c.candidates for c in contexts], type=pa.list_(ids)),
        }
    )
    workers = min(config.scaling.workers, len(contexts))
    # Cut here, not by Ray Data's repartition: its tasks would wait for ever for a CPU when the actors hold them all.
    size = -(-len(contexts) // (4 * workers))
    blocks = [table.slice(start, size) for start in range(0, len(contexts), size)]
    scored = ray.data.from_arrow(blocks).map_batches(
        ReferenceActor,
        fn_constructor_args=(config,),
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=config.scaling.cpus_per_worker,
        num_gpus=1 if config.scaling.use_gpu else 0,
    )
    rows = {item["row"]: np.asarray(item["scores"], dtype=np.float64) for item in scored.iter_rows()}
    return [rows[i] for i in range(len(contexts))]

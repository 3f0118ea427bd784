"""Preferences from prompts: answers are sampled, scored, and written as a file that every training job reads.

OUTPUT/   config.yaml  preferences.parquet  build.json (what was dropped, how long it took)
          parts/ (answers so far, to go on after a kill)  report.html  scores.png
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosdpo import activity
from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment import cluster
from cosdpo.experiment.build.answers import ANSWERING, WANTED, Judge, stages, weights_for
from cosdpo.experiment.build.prompts import Prompt
from cosdpo.experiment.progress import Phase
from cosdpo.files import whole_file, write_whole
from cosdpo.training import run_folder

log = logging.getLogger("cosdpo")

PREFERENCES, BUILT, PARTS = "preferences.parquet", "build.json", "parts"
WAVES = 4
"""Times that a worker fills its rows with the answers of one block, which are scored and kept together."""
EMPTY = "answers dropped: empty"
REPEATED = "answers dropped: the same as another"
TOO_FEW = "prompts dropped: fewer than two different answers"

Answerer = Callable[..., Any]
"""A class whose instances answer blocks of prompts, made of configuration and longest prompt. It is handed in from
above: serve/prompt_answerer.py.
"""


@dataclass(frozen=True)
class Built:
    """What is left of a finished build, in build.json."""

    prompts: int
    """Prompts with at least two different answers."""
    answers: int
    tokens: int
    """Written by the model, dropped answers included."""
    seconds: float
    """Of sampling and scoring, over all sittings."""
    dropped: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> Built | None:
        """The finished build in `folder`, or None."""
        path = folder / BUILT
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def build(config: Config, prompts: Sequence[Prompt], dropped: dict[str, int], answerer: Answerer) -> Built:
    """Has `prompts` answered and scored, and writes preferences.parquet into config.output; what is there is kept.

    Args:
        dropped: how many prompts were left out before, by reason.

    Raises:
        InputError: the cluster is too small, a scorer fails, or no prompt has two different answers.
    """
    if (done := Built.read(config.output)) is not None:
        return done
    for reason, count in dropped.items():
        log.info("%s: %d", reason, count)
    cluster.connect(config)
    _check_room(config)
    run_folder.create(config)
    parts = config.output / PARTS
    parts.mkdir(exist_ok=True)
    kept = [pq.read_table(path) for path in sorted(parts.glob("[!.]*.parquet"))]
    there = {row for table in kept for row in table["row"].to_pylist()}
    rest = [row for row in range(len(prompts)) if row not in there]
    counting = activity.counting(config.output, ANSWERING, len(rest) * config.build.samples)
    with Phase(ANSWERING, config.output, "answers"), counting:
        began = time.perf_counter()
        for table in _answered(config, prompts, rest, answerer):
            seconds, began = time.perf_counter() - began, time.perf_counter()
            table = table.replace_schema_metadata({"seconds": str(seconds)})
            with whole_file(parts / f"{table['row'][0].as_py():08d}.parquet") as temporary:
                pq.write_table(table, temporary)
            kept.append(table)
    return _written(config, prompts, kept, dropped)


def _answered(config: Config, prompts: Sequence[Prompt], rest: Sequence[int], answerer: Answerer) -> Any:
    """Tables of the prompts `rest`, as they are answered and scored."""
    import ray

    if not rest:
        return iter(())
    scaling, prompts_at_once = config.scaling, max(1, WAVES * config.build.rows // config.build.samples)
    size = min(prompts_at_once, -(-len(rest) // (2 * scaling.workers)))
    rows = [
        {"row": row, "text": prompts[row].text, "ids": prompts[row].ids, "weights": weights_for(row, config)}
        for row in rest
    ]
    blocks = [pa.Table.from_pylist(rows[at : at + size], WANTED) for at in range(0, len(rows), size)]
    longest = max(len(prompt.ids) for prompt in prompts)
    flow = ray.data.from_arrow(blocks).map_batches(
        answerer,
        fn_constructor_args=(config, longest),
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=min(scaling.workers, len(blocks))),
        num_cpus=scaling.cpus_per_worker,
        num_gpus=1 if scaling.use_gpu else 0,
    )
    for stage in stages(config):
        flow = flow.map_batches(
            Judge,
            fn_constructor_args=(stage.scorers,),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=config.build.scorer_workers if stage.model else 1),
            num_cpus=config.build.scorer_cpus if stage.model else 0,
            num_gpus=config.build.scorer_gpus if stage.model else 0,
        )
    return flow.iter_batches(batch_size=None, batch_format="pyarrow")


def _check_room(config: Config) -> None:
    """Raises InputError where samplers and reward models do not fit the cluster together: they would wait for ever."""
    build, scaling = config.build, config.scaling
    models = sum(stage.model for stage in stages(config)) * build.scorer_workers
    needs = {
        "CPU": scaling.workers * scaling.cpus_per_worker + models * build.scorer_cpus,
        "GPU": scaling.workers * scaling.use_gpu + models * build.scorer_gpus,
    }
    for kind, available in cluster.capacity().items():
        if kind in needs and needs[kind] > available:
            raise InputError(
                f"{scaling.workers} scaling.workers and {models} reward models need {needs[kind]:g} {kind}s, the "
                f"cluster has {available:g}: lower scaling.workers or build.scorer_{kind.lower()}s"
            )


def _written(config: Config, prompts: Sequence[Prompt], tables: Sequence[pa.Table], dropped: dict[str, int]) -> Built:
    """Writes the preferences and what is to be told of them."""
    lost = Counter(dropped)
    rows = []
    tokens = 0
    seconds = sum(float((table.schema.metadata or {}).get(b"seconds", 0)) for table in tables)
    for answered in sorted((row for table in tables for row in table.to_pylist()), key=lambda row: row["row"]):
        tokens += sum(answered["tokens"])
        first: dict[str, int] = {}
        for i, text in enumerate(answered["responses"]):
            first.setdefault(text, i)
        lost[REPEATED] += len(answered["responses"]) - len(first)
        chosen = [i for text, i in first.items() if text.strip()]
        lost[EMPTY] += len(first) - len(chosen)
        if len(chosen) < 2:
            lost[TOO_FEW] += 1
            continue
        scores = {name: [answered[f"score:{name}"][i] for i in chosen] for name in config.objectives}
        listed = {name: [answered[name][i] for i in chosen] for name in ("responses", "finished", "weights")}
        if not config.build.checkpoint:
            del listed["weights"]
        rows.append({**prompts[answered["row"]].given, **listed, "scores": scores})
    if not rows:
        raise InputError(
            f"no prompt of {config.build.prompts} has two different answers: raise build.sampling_temperature or "
            "build.samples"
        )
    with whole_file(config.output / PREFERENCES) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    answers = sum(len(row["responses"]) for row in rows)
    done = Built(len(rows), answers, tokens, seconds, {reason: count for reason, count in lost.items() if count})
    write_whole(config.output / BUILT, json.dumps(asdict(done)))
    return done

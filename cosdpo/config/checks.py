"""What does not go together, whichever job asks for it: Config calls these, so that sweeps and workers refuse it too.

Each takes the sections it compares and raises InputError with the mend. What one job alone cannot do, or one machine,
is that job's to refuse. Sections themselves check their own keys only, each on its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from cosdpo.config.build import BuildConfig
from cosdpo.config.data import DataConfig
from cosdpo.config.scaling import ScalingConfig
from cosdpo.config.training import ModelConfig, RankerConfig, TrainingConfig
from cosdpo.errors import InputError


def check_objectives(objectives: Sequence[str], temperature: float | Sequence[float]) -> None:
    """Objectives of different names, with a temperature for all or one each; rankers may name them later."""
    if len(set(objectives)) < len(objectives):
        raise InputError(f"objectives {objectives} names one twice; name each once")
    if objectives and isinstance(temperature, Sequence) and len(temperature) != len(objectives):
        raise InputError(
            f"temperature has {len(temperature)} numbers for {len(objectives)} objectives; give one for all, or one "
            "each"
        )


def check_groups(task: str, data: DataConfig, training: TrainingConfig) -> None:
    """Contexts with the same weights stay together, and those that are compared with each other can be."""
    compared, group = training.compare_across, training.group
    if compared > 1 and (task == "ranking" or data.comparisons != "pairwise"):
        raise InputError(
            f"training.compare_across {compared} compares pairs of responses: set data.comparisons pairwise"
        )
    if compared > 1 and training.contexts_per_weight not in (1, compared):
        raise InputError(
            f"training.contexts_per_weight {training.contexts_per_weight} is not training.compare_across {compared}, "
            "whose contexts share their weights too: leave it out"
        )
    for key in ("batch_size", "micro_batch"):
        if (size := getattr(training, key)) % group:
            raise InputError(
                f"training.{key} {size} is not a multiple of {_key_of_groups(training)} {group}; change one of them"
            )


def _key_of_groups(training: TrainingConfig) -> str:
    return "training.compare_across" if training.compare_across > 1 else "training.contexts_per_weight"


def check_workers(training: TrainingConfig, scaling: ScalingConfig) -> None:
    """No more workers than a batch has parts for them, and no fewer than the fewest."""
    group = training.group
    parts = training.batch_size // group
    if scaling.workers > parts:
        what = "contexts" if group == 1 else f"groups of {_key_of_groups(training)} {group}"
        raise InputError(
            f"scaling.workers {scaling.workers} cannot share training.batch_size {training.batch_size}, which has "
            f"{parts} {what}: lower the one or raise the other"
        )
    if scaling.min_workers > scaling.workers:
        raise InputError(
            f"scaling.min_workers {scaling.min_workers} is more than scaling.workers {scaling.workers}: lower the one "
            "or raise the other"
        )


def check_target(training: TrainingConfig) -> None:
    """What compares weights with losses, which the other targets do not have between the ends."""
    for key, default in (("penalty", 0), ("scalarisation", "linear")):
        if training.target != "labels" and getattr(training, key) != default:
            raise InputError(f"training.{key} is for training.target labels: set one of the two back to its default")
    if training.scalarisation != "linear" and training.penalty:
        raise InputError(
            "training.penalty is for training.scalarisation linear: set one of the two back to its default"
        )
    if training.scalarisation != "linear" and training.group == 1:
        raise InputError(
            "training.scalarisation tchebycheff compares mean losses: set training.contexts_per_weight to 4 or more"
        )


def check_writing(task: str, training: TrainingConfig, build: BuildConfig) -> None:
    """What only a language model can do: answer prompts, and start from another one's adapters."""
    for key, value in (("training.start", training.start), ("build.prompts", build.prompts)):
        if value and task != "language":
            raise InputError(f"{key} is for language models: leave it out, or task")


def check_strategy(task: str, scaling: ScalingConfig) -> None:
    """A strategy that the task has, with something to shard and to offload."""
    if task == "ranking" and scaling.strategy != "ddp":
        raise InputError(f"scaling.strategy {scaling.strategy} is for language models: set it to ddp for rankers")
    if scaling.strategy == "fsdp" and scaling.workers == 1:
        raise InputError("scaling.strategy fsdp has nothing to shard over: set scaling.workers to 2 or more, or ddp")
    if scaling.min_workers == 1 and scaling.shards_the_base:
        raise InputError("scaling.min_workers 1 leaves nothing to shard over: set it to 2 or more, or strategy ddp")
    if scaling.offload != "none" and scaling.strategy != "deepspeed":
        raise InputError(f"scaling.offload {scaling.offload} needs scaling.strategy deepspeed: set it, or offload none")
    if scaling.offload == "parameters" and not scaling.shards_the_base:
        raise InputError(
            "scaling.offload parameters moves the parts of a sharded base: set scaling.zero_stage 3 and "
            "scaling.workers to 2 or more, or scaling.offload optimizer"
        )


def check_quantization(task: str, model: ModelConfig, scaling: ScalingConfig) -> None:
    """Matrices in 4 bits are a language model's, and not shared among workers."""
    if model.quantization == "none":
        return
    if task == "ranking":
        raise InputError("model.quantization is for language models: set it to none")
    if scaling.strategy != "ddp":
        raise InputError(
            f"model.quantization nf4 does not go with scaling.strategy {scaling.strategy}: set ddp, or "
            "model.quantization none"
        )


def check_ranker(task: str, ranker: RankerConfig) -> None:
    """A network that can be built."""
    if task == "ranking":
        check_heads(ranker.architecture, ranker.width, ranker.heads)


def check_heads(architecture: str, width: int, heads: int) -> None:
    """Attention heads of equal width."""
    if architecture == "transformer" and width % heads:
        raise InputError(f"ranker.width {width} is not a multiple of ranker.heads {heads}; change one of them")

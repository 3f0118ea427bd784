"""The whole configuration of a run, typed in one place.

The attribute docstrings below are the only help text there is: `--help` of every job, docs/configuration.md and the
editor's tooltip all show them. Values come from, in rising order of precedence, the defaults here, a YAML file
(`--config FILE.yaml`) and the command line (`--section.key VALUE`); cosdpo/cli/command_line.py does the reading.
"""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MethodName = Literal["cos", "linear_scalarization", "soup", "modpo"]
Comparisons = Literal["pairwise", "listwise", "rankings"]
LARGEST_GRID = 70
"""Weights of an evaluation grid whose partitions are not given."""

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A group of keys. Unknown keys are refused and values are checked when they are assigned."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_assignment=True)


class ModelConfig(Section):
    """The base model and what is trained on top of it."""

    base: str = ""
    """Base model: a hub name or a local folder in transformers' format; for rankers the checkpoint folder of a base
    ranker, or empty to train one first."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen base's weights; auto is bfloat16 on GPUs and float32 on CPUs."""
    quantization: Literal["none", "nf4"] = "none"
    """Hold the frozen base's matrices in 4 bits, by bitsandbytes on a GPU (with scaling.strategy ddp)."""
    lora_rank: Positive = 16
    """Rank of the LoRA adapters (per adapted matrix, all objectives together)."""
    lora_alpha: Rate = 16.0
    """LoRA scaling numerator; the update is multiplied by lora_alpha / lora_rank."""
    lora_dropout: Share = 0.0
    """Dropout on the input of the LoRA adapters."""
    lora_targets: list[str] = []
    """Names of the linear modules to adapt, such as [q_proj, v_proj]; empty adapts every linear module but the head."""
    gates: Literal["affine", "quadratic"] = "affine"
    """Form of gated LoRA: affine has a block of ranks per objective, quadratic also one per pair of objectives."""
    adapt_ends: bool = True
    """Gated LoRA also updates the token embeddings and the final hidden states."""
    soft_tokens: Positive = 8
    """Number of soft tokens of the hyper prompt (k in P(w) = P_0 + A(w))."""
    temperature_conditioned: bool = False
    """Give the model the normalised temperatures as a second input (Temperature-COS-DPO)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""


class RankerConfig(Section):
    """The ranker (task ranking only)."""

    architecture: Literal["transformer", "mlp"] = "transformer"
    """transformer lets the documents of a list attend to each other, mlp scores each on its own."""
    conditioning: Literal["concatenation", "gates", "both"] = "both"
    """How the weights enter: concatenated to each document's features (the paper's), gating hidden units, or both."""
    parametrisation: Literal["augmentation", "scratch"] = "augmentation"
    """augmentation adds a trained term, 0 at first, to the frozen base's scores; scratch trains all scores anew."""
    width: Positive = 128
    """Hidden units."""
    layers: Positive = 2
    """Number of layers."""
    heads: Positive = 2
    """Attention heads of the transformer."""
    dropout: Share = 0.1
    """Dropout on embedded inputs and on the output of every layer."""
    log1p: bool = True
    """Compress heavy-tailed features by sign(x) log(1 + |x|) before they are standardised."""
    list_features: bool = True
    """Give every feature a second time, standardised within its list."""
    base_steps: Positive = 1000
    """Optimiser steps of the base ranker, which is trained on the main label when model.base is empty."""
    base_learning_rate: Rate = 1e-3
    """Peak learning rate of the base ranker."""


class DataConfig(Section):
    """Where preferences come from and how they become comparisons."""

    train: str = ""
    """Training preferences: a hub dataset name or a local .jsonl, .json or .parquet file; comma-separated
    OBJECTIVE=FILE pairs for sources with one objective per file, such as helpful=a.json,harmless=b.json. For rankers a
    LETOR file, a folder with train.txt, vali.txt and test.txt, or one with such folders Fold1, Fold2 and so on."""
    validation: str = ""
    """Held-out preferences in the same form; empty holds out validation_share of the training contexts."""
    test: str = ""
    """Test file of a ranker; empty takes the test.txt of the folder data.train, or else the validation data."""
    validation_share: Share = 0.1
    """Share of training contexts held out when data.validation is empty."""
    format: Literal["auto", "scored", "pku", "hh"] = "auto"
    """Schema of the rows; auto recognises it from the column names."""
    comparisons: Comparisons = "pairwise"
    """pairwise trains on every ordered pair of candidates, listwise on a target distribution (the default of rankers),
    rankings on the likelihood of the whole order, in which tied candidates are not compared. Rankers know the last
    two."""
    targets: Literal["argmax", "proportional", "gains", "softmax"] = "argmax"
    """Target distribution of listwise comparisons: all mass on the best candidate, scores normalised to sum 1,
    NDCG's gains 2^score - 1 normalised to sum 1 (the default of rankers), or the softmax of the standardised scores."""
    max_rows: NonNegative = 0
    """Use at most this many contexts of each file, prompts or queries; 0 uses all."""
    auxiliary: dict[str, int] = {
        "quality": 132,
        "quality2": 133,
        "query_url_click": 134,
        "url_click": 135,
        "url_dwell": 136,
    }
    """Feature number, from 1, of each auxiliary objective of a ranker. These features are no inputs, whether or not
    objectives names them all. The default is that of MSLR-WEB10K and WEB30K."""
    folds: Positive = 1
    """Cut the queries of a source without folds of its own into this many folds for cross-validation."""
    fold: NonNegative = 0
    """Run this fold alone, counted from 1; 0 runs all folds one after another."""
    synthetic_queries: Positive = 600
    """Queries of the synthetic data set that a ranker is trained on when data.train is empty."""
    max_length: NonNegative = 0
    """Longest prompt plus response in tokens; 0 is the model's own context. Longer responses are cut at the end."""
    prompt_too_long: Literal["error", "drop", "truncate"] = "error"
    """What to do with a prompt that leaves no room for a response; truncate cuts its start."""
    prompt_template: str = "{prompt}"
    """Text around a prompt, with {prompt} where the prompt goes."""
    response_template: str = "{response}"
    """Text around a response, such as ' {response}' for tokenizers that mark words by a leading space."""
    append_eos: bool = True
    """End every response with the tokenizer's end-of-sequence token."""


class TrainingConfig(Section):
    """Optimisation of one run."""

    steps: Positive = 500
    """Optimiser steps."""
    batch_size: Positive = 8
    """Contexts per optimiser step, over all workers."""
    micro_batch: NonNegative = 0
    """Contexts per forward pass of one worker; 0 takes the worker's whole share of the batch at once."""
    learning_rate: Rate = 2e-3
    """Peak learning rate of the adapters."""
    prompt_learning_rate: Rate = 3e-3
    """Peak learning rate of the hyper prompt."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decoupled weight decay on the adapters' matrices."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises; it then falls to 0 along a cosine."""
    clip: Rate = 1.0
    """Gradient norm above which gradients are scaled down."""
    weights: list[Annotated[float, Field(ge=0)]] = []
    """Fixed weights of a run that is not conditioned, as the baselines train them; empty draws them."""
    alpha: Rate = 1.0
    """Concentration of the Dirichlet that training weights are drawn from; below 1 favours the ends."""
    compare_across: Positive = 1
    """Contexts of a batch that share their weights and whose candidates are all compared with each other, for scores
    that mean the same in every context, as those of a reward model do; 1 compares within a context alone."""
    stratified: bool = True
    """Stratify the drawn weights over each batch instead of drawing them independently."""
    temperature_alpha: Rate = 1.0
    """Concentration of the Dirichlet over normalised temperatures (only with model.temperature_conditioned)."""
    target: Literal["labels", "rewards"] = "labels"
    """What is wanted between the ends: labels is the paper's weighted sum of losses; rewards (ours) the weighted sum of
    the rewards that the model gives at the ends, as MO-DPO adds them up, for one scoring pass more per further
    objective."""
    penalty: Annotated[float, Field(ge=0)] = 0.0
    """Strength lambda of COSMOS's penalty -cos(w, losses); 0 turns it off."""
    checkpoint_every: Positive = 200
    """Optimiser steps between checkpoints."""
    keep_checkpoints: Positive = 2
    """Number of newest checkpoints kept for resuming."""
    log_every: Positive = 10
    """Optimiser steps between lines of metrics.jsonl."""


class GridConfig(Section):
    """The weights and temperatures at which a front is evaluated."""

    partitions: NonNegative = 0
    """Das-Dennis partitions per objective: 10 gives 11 weights for two objectives, 66 for three. 0 takes 10 for up to
    three objectives, and for more as many as give at most 70 weights."""
    temperatures: list[Rate] = []
    """Multiples of the trained temperature at which the front of a conditioned run is measured, such as 0.5,1,2,4;
    1 always is. The figures of a front, comparisons, sweeps and baselines know 1 alone."""

    @field_validator("temperatures")
    @classmethod
    def _each_once(cls, given: list[float]) -> list[float]:
        twice = [c for c in given if given.count(c) > 1]
        if twice:
            raise ValueError(f"{twice[0]:g} stands there {given.count(twice[0])} times; name each multiple once")
        return given


class EvaluationConfig(Section):
    """What is measured along the front."""

    split: Literal["test", "validation"] = "test"
    """Held-out side that a ranker's front is measured on, where the data has both."""
    batch_tokens: Positive = 16384
    """Tokens scored at once during evaluation and for the reference cache."""
    scorers: dict[str, str] = {}
    """Scorer of generated text per objective: positivity, brevity, dialogue, module:function, or hub:NAME for a
    sequence-classification reward model. Empty skips the reward front."""
    prompts: Positive = 16
    """Held-out prompts that text is generated for when scorers are configured, and along whose responses the distance
    from the base is measured."""
    samples: Positive = 5
    """Trade-offs at which the report answers the same prompt."""
    max_new_tokens: Positive = 64
    """Longest generated answer in tokens."""
    sampling_temperature: Annotated[float, Field(ge=0)] = 0.8
    """Sampling temperature of generated text; 0 is greedy. Not the DPO temperature."""
    front_every: NonNegative = 0
    """Optimiser steps between the intermediate fronts of a sweep's trials; 0 measures the front at the end only."""


class ScalingConfig(Section):
    """How a run is spread over the cluster."""

    workers: Positive = 1
    """Training workers."""
    min_workers: NonNegative = 0
    """Fewest workers that the run goes on with where the cluster has no room for all of them; 0 always takes
    scaling.workers. The number changes nothing in what is trained."""
    storage: str = ""
    """Folder or address that checkpoints are kept under for resuming, such as s3://bucket/runs/alpaca, with a place of
    its own for each run; empty keeps them in output."""
    strategy: Literal["ddp", "fsdp", "deepspeed"] = "ddp"
    """How the workers share the model: ddp holds all of it on every worker, fsdp shards the frozen base, deepspeed is
    ZeRO. Rankers take ddp."""
    zero_stage: Literal[1, 2, 3] = 2
    """What deepspeed shards: 1 the optimiser's state, 2 gradients too, 3 the frozen base too."""
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """What deepspeed keeps in host memory instead of the GPU's: the optimiser's state, or also the frozen base (with
    scaling.zero_stage 3)."""
    use_gpu: bool = False
    """One GPU per worker."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """CPU cores reserved per worker."""
    threads: NonNegative = 0
    """Threads of a worker's tensor operations; 0 takes cpus_per_worker."""
    max_failures: NonNegative = 3
    """Worker failures after which the run gives up; each restarts from the last checkpoint. Nodes that are taken away
    with a notice do not count."""

    @property
    def worker_threads(self) -> int:
        """Threads of a worker's tensor operations."""
        return self.threads or max(1, int(self.cpus_per_worker))

    @property
    def fewest(self) -> int:
        """Workers that the run needs at least."""
        return self.min_workers or self.workers


class GpuConfig(Section):
    """One GPU of the cluster, for what plan prints and refuses."""

    memory: Rate = 80.0
    """Memory in GiB."""
    tflops: Rate = 150.0
    """Sustained teraflop/s, which is a third to a half of what its maker names."""
    price: Annotated[float, Field(ge=0)] = 0.0
    """Price of an hour, in any currency; 0 leaves cost out."""


class BaselineConfig(Section):
    """The runs of the baselines, where they differ from the conditioned run."""

    steps: NonNegative = 0
    """Optimiser steps of every baseline run; 0 takes training.steps."""
    learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """Peak learning rate; 0 takes training.learning_rate."""
    weight_decay: Annotated[float, Field(ge=-1)] = -1.0
    """Weight decay; -1 takes training.weight_decay."""
    lora_rank: NonNegative = 0
    """LoRA rank, with lora_alpha scaled alike; 0 takes model.lora_rank."""


class ComparisonConfig(Section):
    """Several methods and seeds compared (jobs/compare.py)."""

    methods: list[MethodName] = ["cos", "linear_scalarization", "soup", "modpo"]
    """Methods to compare."""
    conditionings: list[str] = []
    """Further conditionings to compare next to the one that is configured: hyper_prompt, gated_lora or both for a
    language model, concatenation, gates or both for a ranker."""
    seeds: list[NonNegative] = [0, 1, 2]
    """Seeds of every method."""
    budgets: list[Literal["steps", "time"]] = ["steps"]
    """steps gives every run its full number of steps; time divides the steps of the conditioned run among the runs of a
    baseline, so that all methods train about equally long."""
    cpus_per_run: Annotated[float, Field(ge=0)] = 0
    """CPU cores that Ray reserves for a run of one worker; 0 takes scaling.cpus_per_worker."""
    gpus_per_run: Annotated[float, Field(ge=0)] = 0
    """GPUs that Ray reserves for a run of one worker, where a fraction lets runs share one; 0 takes one with
    scaling.use_gpu and none without."""


class SweepConfig(Section):
    """A search for good settings (jobs/sweep.py)."""

    space: dict[str, str] = {}
    """What to search, by dotted key: uniform(0.1, 2), loguniform(1e-4, 1e-2), int(4, 32), choice(gated_lora, both) or
    grid(0.05, 0.1, 0.2), such as {training.alpha: "loguniform(0.2, 2)"}. Bounds are included."""
    samples: Positive = 20
    """Number of trials; the grid search runs every combination once instead."""
    search: Literal["optuna", "random", "grid"] = "optuna"
    """optuna learns from finished trials where to look next, random draws from the space, grid runs all combinations
    of choice(...) and grid(...)."""
    scheduler: Literal["none", "asha"] = "none"
    """asha stops trials whose intermediate fronts are behind those of the others (needs evaluation.front_every)."""
    metrics: list[str] = ["hypervolume"]
    """What to search for: hypervolume or controllability (larger is better; of another metric by
    hypervolume/loss), parameters or seconds (smaller is better). With several, optuna looks for the trade-off between
    them; the first one names the best trial."""
    grace_steps: NonNegative = 0
    """Optimiser steps before asha may stop a trial; 0 takes evaluation.front_every."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """asha lets the best of this many trials go on at each of its milestones."""
    max_concurrent: NonNegative = 0
    """Trials at once; 0 runs as many as the cluster holds."""
    cpus_per_trial: Annotated[float, Field(ge=0)] = 0
    """CPU cores that Ray reserves for a trial; 0 takes scaling.cpus_per_worker."""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0
    """GPUs that Ray reserves for a trial, where a fraction lets trials share one; 0 takes one with scaling.use_gpu and
    none without."""


class TrackingConfig(Section):
    """Experiment trackers besides metrics.jsonl and TensorBoard, which are always written."""

    mlflow: str = ""
    """MLflow tracking address, such as http://host:5000; empty turns it off."""
    wandb: str = ""
    """Weights & Biases project; empty turns it off."""


class Config(Section):
    """One run."""

    output: Path = Path("runs/run")
    """Folder that the run writes; an existing one is refused unless resume is set."""
    seed: NonNegative = 0
    """Seed of initialisation, data order, weight draws and sampling."""
    resume: bool = False
    """Go on from the newest checkpoint in output."""
    plan: bool = False
    """Print what the job would run, the memory it needs under every strategy and what it costs, and stop."""
    task: Literal["language", "ranking"] = "language"
    """What is trained: a language model or a ranker."""
    objectives: list[str] = []
    """Names of the objectives, in the order in which weights are given; empty takes all of data.auxiliary (rankers)."""
    method: MethodName = "cos"
    """cos is one conditioned run for the whole front. The baselines: linear_scalarization, a run per weight; soup, a
    run per objective, averaged; modpo, a run per weight with margins of the single-objective runs."""
    conditioning: Literal["hyper_prompt", "gated_lora", "both", "none"] = "gated_lora"
    """How the weights enter a language model: soft tokens (the paper's), gates on the LoRA ranks of each row, or both;
    none is a run at the fixed training.weights."""
    scope: Literal["sequence", "response"] = "response"
    """Tokens the adapters act on: all of them, or only from the last prompt token on, so that the frozen base encodes
    each prompt once for all trade-offs."""
    temperature: Rate | list[Rate] = 0.1
    """Trained DPO temperature beta: one for all objectives, or a list with one each."""
    model: ModelConfig = ModelConfig()
    ranker: RankerConfig = RankerConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    grid: GridConfig = GridConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    scaling: ScalingConfig = ScalingConfig()
    gpu: GpuConfig = GpuConfig()
    baseline: BaselineConfig = BaselineConfig()
    comparison: ComparisonConfig = ComparisonConfig()
    sweep: SweepConfig = SweepConfig()
    tracking: TrackingConfig = TrackingConfig()

    @property
    def conditioned(self) -> bool:
        """Whether the weights are an input of the model."""
        return not self.training.weights

    @property
    def partitions(self) -> int:
        """Das-Dennis partitions of the evaluation grid."""
        if self.grid.partitions:
            return self.grid.partitions
        m = len(self.objectives)
        return max(p for p in range(1, 11) if p == 1 or comb(p + m - 1, m - 1) <= LARGEST_GRID)

    @property
    def ratios(self) -> list[float]:
        """Multiples of the trained temperature at which a front is measured: 1, then the others in rising order."""
        return [1.0, *sorted(c for c in self.grid.temperatures if c != 1)]

    @property
    def temperatures(self) -> list[float]:
        """The trained temperature of each objective, in order."""
        if isinstance(self.temperature, list):
            return self.temperature
        return [self.temperature] * len(self.objectives)

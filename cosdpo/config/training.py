"""What is trained and how it is optimised."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cosdpo.config.section import Location, NonNegative, Positive, Rate, Section, Share
from cosdpo.errors import InputError


class ModelConfig(Section):
    """The base model and what is trained on top of it."""

    base: Location = ""
    """Base model: a hub name, a local folder in transformers' format or a .gguf file; for rankers the checkpoint folder
    of a base ranker, or empty to train one first."""
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
    shared_ranks: NonNegative = 0
    """Of lora_rank, ranks of gated LoRA that belong to no objective: their gates start at 1 for all weights."""
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
    shared_units: Share = 0.0
    """Share of the gated hidden units that belong to no objective: their gates start at 1 for all weights."""
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


class TrainingConfig(Section):
    """Optimisation of one run."""

    start: Location = ""
    """Checkpoint of a conditioned run with the same objectives and adapters whose adapters this run starts from; the
    reference stays the base. Empty starts from the base."""
    steps: NonNegative = 500
    """Optimiser steps; 0 takes epochs."""
    epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """Passes over the training contexts in place of steps, or a fraction of one; 0 takes steps. What a run writes down
    are the steps that they came to."""
    batch_size: Positive = 8
    """Contexts per optimiser step, over all workers."""
    micro_batch: NonNegative = 0
    """Contexts per forward pass of one worker; 0 takes the worker's whole share of the batch at once."""
    learning_rate: Rate = 2e-3
    """Peak learning rate of the adapters. Left out, it is that of small models: wider language models take less, by
    (64 / hidden size)^0.75, which is 0.0004 at 576 and 0.00009 at 4096."""
    prompt_learning_rate: Rate = 3e-3
    """Peak learning rate of the hyper prompt. Left out, wider language models take less in the same way."""
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
    target: Literal["labels", "rewards", "scores"] = "labels"
    """What is wanted between the ends: labels is the paper's weighted sum of losses; rewards (ours) the weighted sum of
    the rewards that the model gives at the ends, as MO-DPO adds them up, for one scoring pass more per further
    objective; scores (ours) the weighted sum of the scores in the data, which decides every pair at every weight."""
    scalarisation: Literal["linear", "tchebycheff"] = "linear"
    """What weights do to the losses: linear is their weighted sum; tchebycheff the largest weighted loss, each over the
    base's, which also reaches parts of a front that are not convex. For target labels, and for baselines too."""
    smoothing: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    """Width of the smooth maximum that tchebycheff takes; 0 is the maximum itself."""
    contexts_per_weight: Positive = 1
    """Contexts of a batch that share their weights, and over whose mean losses tchebycheff takes its maximum."""
    penalty: Annotated[float, Field(ge=0)] = 0.0
    """Strength lambda of COSMOS's penalty -cos(w, losses); 0 turns it off."""
    checkpoint_every: Positive = 200
    """Optimiser steps between checkpoints."""
    keep: Literal["last", "best"] = "last"
    """Whose state checkpoint/ holds: that after the last step, or the best seen, by the hypervolume of the losses on
    training contexts that are set apart for it: evaluation.curve_contexts of them, 64 where it is left out, but at most
    a quarter."""
    keep_checkpoints: Positive = 2
    """Number of newest checkpoints kept for resuming."""
    log_every: Positive = 10
    """Optimiser steps between lines of metrics.jsonl."""

    @property
    def group(self) -> int:
        """Neighbouring contexts of a batch with the same weights."""
        return max(self.compare_across, self.contexts_per_weight)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs and "steps" not in self.model_fields_set:
            object.__setattr__(self, "steps", 0)
        if self.epochs and self.steps:
            raise InputError(
                f"training.steps {self.steps} and training.epochs {self.epochs:g} both say how long a run is: leave "
                "one out, or set training.steps 0"
            )
        if not self.epochs and not self.steps:
            raise InputError("training.steps 0 takes training.epochs, which is 0 too: set one of the two")
        return self

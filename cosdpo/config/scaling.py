"""The cluster that a run is spread over, the trackers that follow it, and the hub that it goes to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cosdpo.config.section import HubName, Location, NonNegative, Positive, Rate, Section


class ScalingConfig(Section):
    """How a run is spread over the cluster."""

    workers: Positive = 1
    """Training workers."""
    min_workers: NonNegative = 0
    """Fewest workers that the run goes on with where the cluster has no room for all of them; 0 always takes
    scaling.workers. The number changes nothing in what is trained."""
    storage: Location = ""
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

    @property
    def shards_the_base(self) -> bool:
        """Whether no worker holds the whole frozen base."""
        return self.workers > 1 and (self.strategy == "fsdp" or (self.strategy == "deepspeed" and self.zero_stage == 3))


class GpuConfig(Section):
    """One GPU of the cluster, for what plan prints and refuses."""

    memory: Rate = 80.0
    """Memory in GiB."""
    tflops: Rate = 150.0
    """Sustained teraflop/s, which is a third to a half of what its maker names."""
    price: Annotated[float, Field(ge=0)] = 0.0
    """Price of an hour, in any currency; 0 leaves cost out."""


class TrackingConfig(Section):
    """Experiment trackers besides metrics.jsonl and TensorBoard, which are always written. The job gives them what its
    trainings write, so that they need to be installed and reached where it runs alone.
    """

    mlflow: str = ""
    """MLflow tracking address, such as http://host:5000 or sqlite:////folder/mlflow.db; empty turns it off."""
    wandb: str = ""
    """Weights & Biases project; empty turns it off. WANDB_MODE=offline keeps its files in the run folder."""


class HubConfig(Section):
    """The Hugging Face hub, for a run that is shared when it has ended."""

    push: HubName = ""
    """Name of the model, OWNER/NAME, that checkpoint, front and a model card are pushed to when a conditioned run has
    ended; empty pushes nothing. A push that fails costs the run nothing (python -m cosdpo.hub)."""
    private: bool = False
    """Keep it private; otherwise it is what OWNER's models are by default."""

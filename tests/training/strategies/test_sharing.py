"""Runs of two workers under every strategy: the same losses, states that go on under any other, one-line errors.

All are compared with one worker that trains on the whole batch. Micro-batches are single contexts, some of whose
prompts have one token, so that the workers' passes through the base differ in number.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cosdpo.config import Config
from cosdpo.evaluation.profile import profile
from cosdpo.models.generation import generate
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.simplex import das_dennis
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock
from tests.tiny_models import preferences, settings, write_model
from tests.training.strategies import together

TOLERANCE = 1e-5
"""Of losses and trained tensors, in float32: workers add their gradients in another order."""


class Run:
    """What two workers left under some strategies, and what one worker does."""

    def __init__(self, folder: Path, kinds: list[str], base: str, **changes: object) -> None:
        self.folder, self.kinds = folder, kinds
        defaults: dict[str, object] = {
            "conditioning": "both",
            "scope": "response",
            "training__log_every": 1,
            "training__weight_decay": 0.1,
        }
        self.config: Config = settings(write_model(folder / "base", base), **defaults, **changes)
        together.run(folder, self.config, kinds)
        self.data = preferences(folder / "base", self.config)
        self.alone = together.scorer(self.config)
        self.lines: list[dict[str, float]] = []
        optimizer = optimizer_for(self.alone, self.config)
        train(self.alone, self.data, self.config, optimizer, Clock(), self.lines.append, lambda clock: None)

    def logged(self, name: str) -> list[dict[str, float]]:
        first, second = (json.loads((self.folder / name / f"lines.{rank}.json").read_text()) for rank in (0, 1))
        assert [line["loss"] for line in first] == [line["loss"] for line in second]
        return first

    def assert_ended_alike(self, name: str) -> None:
        for rank in (0, 1):
            ours: dict[str, Tensor] = load_file(self.folder / name / f"trained.{rank}.safetensors")
            right = self.alone.trainable()
            assert ours.keys() == right.keys()
            for key, tensor in right.items():
                torch.testing.assert_close(ours[key], tensor.detach(), rtol=TOLERANCE, atol=TOLERANCE, msg=key)

    def assert_all(self) -> None:
        """Everything that holds under every strategy."""
        self.whole_runs()
        self.resumed_runs()
        self.sharding()
        self.measuring()
        self.checkpoints()
        self.divergence()
        self.reference()

    def whole_runs(self) -> None:
        for kind in self.kinds:
            for ours, right in zip(self.logged(kind), self.lines, strict=True):
                for key in ("step", "loss", "loss/kind", "loss/short", "gradient_norm", "learning_rate"):
                    assert ours[key] == pytest.approx(right[key], rel=1e-4, abs=TOLERANCE), (kind, key)
            self.assert_ended_alike(kind)

    def resumed_runs(self) -> None:
        half = self.config.training.checkpoint_every
        for first, second in itertools.permutations(self.kinds, 2):
            lines = self.logged(f"{first}-{second}")
            assert [line["step"] for line in lines] == list(range(half + 1, len(self.lines) + 1))
            self.assert_ended_alike(f"{first}-{second}")

    def sharding(self) -> None:
        """Each of two workers holds half of the layers, and embeddings, final norm and head whole."""
        base = self.alone.model.get_base_model()
        layers = sum(p.numel() for n, p in base.named_parameters() if ".layers." in n and "lora" not in n)
        frozen = sum(p.numel() for p in base.parameters() if not p.requires_grad)
        for kind, rank in itertools.product(self.kinds, (0, 1)):
            held = int((self.folder / kind / f"frozen.{rank}").read_text())
            assert held == (frozen - layers // 2 if kind.startswith(("fsdp", "zero3")) else frozen)

    def measuring(self) -> None:
        grid, beta = das_dennis(2, 4), np.array(self.config.temperatures)
        module = self.alone.eval()
        for kind in self.kinds:
            found = {}
            for rank in (0, 1):
                found |= json.loads((self.folder / kind / f"found.{rank}.json").read_text())
            assert sorted(map(int, found)) == list(range(len(grid)))
            for index, weights in enumerate(grid):
                values = found[str(index)]
                loss = profile(module, self.data, weights, beta, 40 + 30 * index).loss
                assert values["loss"] == pytest.approx(loss.tolist(), rel=1e-4)
                w = torch.tensor(weights[None]).float()
                assert values["text"] == generate(module, [self.data.contexts[index].prompt], w, None, 3 + 2 * index)
                base = module.all_references(self.data.contexts[: 2 + index], 40 + 30 * index)
                for ours, right in zip(values["base"], base, strict=True):
                    assert ours == pytest.approx(right, rel=1e-4)

    def checkpoints(self) -> None:
        """What was saved loads and scores like the trained model."""
        contexts, w = self.data.contexts[:4], torch.tensor([[0.3, 0.7]] * 4)
        beta = torch.tensor(self.config.temperatures).expand(4, 2)
        for kind in self.kinds:
            served = LanguageScorer.load(self.folder / kind / "checkpoint", self.alone.embed.weight.dtype)
            with torch.no_grad():
                ours, right = served(contexts, w, beta), self.alone.eval()(contexts, w, beta)
            torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-4)

    def divergence(self) -> None:
        """Both workers end in the same line, the checkpoints before it are good, and there is none after it."""
        for kind in self.kinds:
            folder = self.folder / f"{kind}-nan"
            for rank in (0, 1):
                message = (folder / f"error.{rank}").read_text()
                assert message.startswith("the loss is not finite at step 9: lower training.learning_rate")
                assert "\n" not in message
            assert sorted(path.name for path in folder.glob("state.*")) == ["state.4", "state.8"]
            state = load_file(folder / "state.8" / "training_state.safetensors")
            assert all(bool(tensor.isfinite().all()) for tensor in state.values())

    def reference(self) -> None:
        for rank in (0, 1):
            rows = json.loads((self.folder / f"reference.{rank}.json").read_text())
            for ours, right in zip(rows, self.data.reference, strict=False):
                assert ours == pytest.approx(list(right), rel=1e-4)
            assert len(rows) == 13


@pytest.mark.whole
def test_ddp_and_fsdp(tmp_path):
    changes: dict[str, object] = {
        "training__steps": 10,
        "training__checkpoint_every": 5,
        "training__batch_size": 4,
        "training__micro_batch": 1,
        "model__gradient_checkpointing": True,
    }
    Run(tmp_path, ["ddp", "fsdp"], "llama-untied", **changes).assert_all()


@pytest.fixture(scope="module")
def needs_deepspeed() -> None:
    pytest.importorskip("deepspeed")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("needs_deepspeed")
@pytest.mark.parametrize("kinds", [["ddp", "fsdp", "zero1", "zero2", "zero3"], ["zero2+optimizer", "zero3+parameters"]])
def test_every_strategy_over_50_steps(tmp_path, kinds):
    changes: dict[str, object] = {"training__steps": 50, "training__checkpoint_every": 25, "training__micro_batch": 2}
    Run(tmp_path, kinds, "llama-tied", **changes).assert_all()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_deepspeed")
def test_a_bfloat16_base(tmp_path):
    changes: dict[str, object] = {"training__steps": 10, "training__checkpoint_every": 5, "training__micro_batch": 1}
    Run(tmp_path, ["ddp", "fsdp", "zero3"], "llama-tied", model__dtype="bfloat16", **changes).assert_all()

"""What a step draws, how workers share it, and which tensors the optimiser treats how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cosdpo.config import Config, DataConfig
from cosdpo.data.batching import PreferenceData
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.training.loop import Sampler, optimizer_for
from cosdpo.training.world import World
from tests.tiny_models import scorer, settings


@dataclass(frozen=True)
class Item:
    """A context known by its number."""

    index: int
    tokens: int = 1


class TestDraws:
    def sampler(self, **changes: object) -> Sampler:
        items = [Item(i) for i in range(32)]
        data = PreferenceData(items, [[[1.0, 0.0], [0.0, 1.0]]] * 32, [np.zeros(2)] * 32, DataConfig())
        return Sampler(data, settings("", training__batch_size=8, **changes))

    def test_every_context_has_its_own_weights(self):
        draw = self.sampler()(0)
        assert draw.weights.shape == (8, 2)
        torch.testing.assert_close(draw.weights.sum(1), torch.ones(8))
        assert len(set(draw.weights[:, 0].tolist())) == 8

    def test_a_draw_is_a_function_of_seed_and_step(self):
        first, again = self.sampler()(3), self.sampler()(3)
        assert first.contexts == again.contexts
        assert torch.equal(first.weights, again.weights)
        for other in (self.sampler()(2), self.sampler(seed=1)(3)):
            assert not torch.equal(first.weights, other.weights)
            assert first.contexts != other.contexts

    @pytest.mark.parametrize(("alpha", "low", "high"), [(0.05, 0.9, 1.0), (50.0, 0.5, 0.65)])
    def test_a_small_alpha_favours_the_ends(self, alpha, low, high):
        largest = torch.cat([self.sampler(training__alpha=alpha)(s).weights.max(1).values for s in range(50)])
        assert low < largest.mean() < high

    def test_temperatures_are_the_trained_ones(self):
        draw = self.sampler(temperature=[0.1, 0.4])(0)
        torch.testing.assert_close(draw.temperatures, torch.tensor([[0.1, 0.4]]).expand(8, 2))

    def test_conditioned_temperatures_vary_at_the_trained_scale(self):
        draw = self.sampler(temperature=[0.1, 0.4], model__temperature_conditioned=True)(0)
        torch.testing.assert_close(draw.temperatures.sum(1), torch.full((8,), 0.5))
        assert len(set(draw.temperatures[:, 0].tolist())) == 8
        assert not torch.allclose(draw.temperatures[:, 0] / 0.5, draw.weights[:, 0])

    @pytest.mark.parametrize(("size", "micro"), [(1, 3), (2, 2), (4, 2), (8, 1)])
    def test_shares_and_micro_batches_make_up_the_global_batch(self, size, micro):
        draw = self.sampler()(0)
        parts = [
            draw.share(World(rank, size), start, start + micro)
            for rank in range(size)
            for start in range(0, 8 // size, micro)
        ]
        rows = {
            c: (w.tolist(), b.tolist()) for c, w, b in zip(draw.contexts, draw.weights, draw.temperatures, strict=True)
        }
        seen = [
            (c, (w.tolist(), b.tolist()))
            for part in parts
            for c, w, b in zip(part.contexts, part.weights, part.temperatures, strict=True)
        ]
        assert len(seen) == 8
        assert dict(seen) == rows

    def test_contexts_compared_with_each_other_share_their_draw(self):
        draw = self.sampler(training__compare_across=4, model__temperature_conditioned=True)(0)
        assert draw.contexts == self.sampler()(0).contexts
        for drawn in (draw.weights, draw.temperatures):
            groups = drawn.unflatten(0, (2, 4))
            torch.testing.assert_close(groups, groups[:, :1].expand_as(groups), rtol=0, atol=0)
            assert not torch.allclose(groups[0, 0], groups[1, 0])

    @pytest.mark.parametrize(("size", "micro"), [(1, 2), (1, 4), (2, 2), (4, 2)])
    def test_no_share_divides_a_group(self, size, micro):
        draw = self.sampler(training__compare_across=2)(0)
        groups = [tuple(draw.contexts[i : i + 2]) for i in range(0, 8, 2)]
        parts = [
            draw.share(World(rank, size), start, start + micro).contexts
            for rank in range(size)
            for start in range(0, 8 // size, micro)
        ]
        shared = [tuple(part[i : i + 2]) for part in parts for i in range(0, len(part), 2)]
        assert sorted(shared) == sorted(groups)


class TestOptimizer:
    def changes(self, config: Config, gradient: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Every trained tensor before and after a first step in which all gradients are `gradient`."""
        module: LanguageScorer = scorer(config)
        optimizer = optimizer_for(module, config)
        before = {name: p.detach().clone() for name, p in module.trainable().items()}
        for parameter in module.trainable().values():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
        return before, {name: p.detach() for name, p in module.trainable().items()}

    def test_weight_decay_acts_on_the_adapters_matrices_alone(self, base):
        config = settings(base, conditioning="both", training__weight_decay=0.5, training__learning_rate=0.1)
        before, after = self.changes(config, gradient=0.0)
        for name, tensor in before.items():
            # AdamW without a gradient multiplies by 1 - rate * decay.
            torch.testing.assert_close(after[name], tensor * (1 - 0.1 * 0.5) if "lora_" in name else tensor)
        assert {"lora_" in name for name in before} == {True, False}

    def test_the_hyper_prompt_has_its_own_rate(self, base):
        config = settings(base, conditioning="both", training__learning_rate=0.1, training__prompt_learning_rate=0.02)
        before, after = self.changes(config, gradient=1.0)
        for name, tensor in before.items():
            # Adam's first step is the rate times the gradient's sign.
            rate = 0.02 if name.startswith("prompt") else 0.1
            torch.testing.assert_close(tensor - after[name], torch.full_like(tensor, rate), rtol=1e-3, atol=1e-6)

"""A run at fixed weights is ordinary DPO: held against a loop of its own, one candidate or one list at a time.

The other loop shares nothing with the package's but the data, the order of its batches and the start: it has its own
scores (the slow twin for language models), loss, clipping, schedule and grouping of parameters.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cosdpo.config import Config
from cosdpo.training.loop import Sampler, optimizer_for, train
from cosdpo.training.training_state import Clock
from tests import tiny_models, tiny_rankers
from tests.models.conftest import disturb
from tests.models.slow_twin import SlowTwin

STEPS, BATCH, RATE, CLIP = 6, 4, 5e-3, 1.0
AT = [[1.0, 0.0], [0.0, 1.0], [0.3, 0.7]]
RUN: dict[str, object] = {
    "training__steps": STEPS,
    "training__batch_size": BATCH,
    "training__learning_rate": RATE,
    "training__clip": CLIP,
    "training__warmup": 0.0,
}


def plain_steps(parameters: list[nn.Parameter], order: Sampler, loss: Callable[[int], Tensor]) -> None:
    """AdamW on the mean of `loss` over the contexts of each batch, with clipped gradients, along a cosine."""
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1.0 if step == 0 else 0.5 * (1 + math.cos(math.pi * (step - 1) / (STEPS - 1))))
        (sum(loss(index) for index in order(step).contexts) / BATCH).backward()
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in parameters))
        for parameter in parameters:
            parameter.grad *= min(1.0, CLIP / (norm + 1e-6))
        optimizer.step()
        optimizer.zero_grad()


def trained(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)


def run(module: nn.Module, data: object, config: Config) -> None:
    train(module, data, config, optimizer_for(module, config), Clock(), lambda line: None, lambda clock: None)


@pytest.mark.parametrize(("weights", "scope"), [(AT[0], "sequence"), (AT[1], "response"), (AT[2], "sequence")], ids=str)
def test_language(base, weights, scope):
    beta = {"kind": 0.5, "short": 0.8}
    config = tiny_models.settings(
        base, conditioning="none", scope=scope, temperature=list(beta.values()), training__weights=weights, **RUN
    )
    ours = tiny_models.scorer(config)
    disturb(ours)
    other = copy.deepcopy(ours)
    start = {name: p.detach().clone() for name, p in trained(ours)}
    data = tiny_models.preferences(Path(config.model.base), config)
    run(ours, data, config)

    # A fresh scorer of the same form carries the other loop's parameters: a copy would share the hooks of the first.
    twin_of = tiny_models.scorer(config)
    twin_of.load_state_dict(other.state_dict())
    twin = SlowTwin(twin_of, base)
    pairs = [
        [[(i, k) for i, k in itertools.permutations(range(len(row)), 2) if row[i] > row[k]] for row in labels]
        for labels in data.scores
    ]
    counts = [sum(len(context[j]) for context in pairs) for j in range(2)]
    flat = torch.tensor([0.5, 0.5])

    def loss(index: int) -> Tensor:
        context = data.contexts[index]
        rewards = [
            twin.score(context.prompt, y, flat, flat) - twin.reference(context.prompt, y) for y in context.candidates
        ]
        total = torch.zeros(())
        for j, (weight, temperature) in enumerate(zip(weights, beta.values(), strict=True)):
            for i, k in pairs[index][j]:
                margin = temperature * (rewards[i] - rewards[k])
                total = total + weight * len(data) / counts[j] * torch.log1p(torch.exp(-margin))
        return total

    plain_steps([p for _, p in trained(twin_of)], Sampler(data, config), loss)
    expected = dict(trained(twin_of))
    for name, parameter in trained(ours):
        torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-4, msg=name)
        assert not torch.allclose(parameter, start[name], atol=2e-3)


@pytest.mark.parametrize("weights", AT, ids=str)
def test_rankers(weights):
    config = tiny_rankers.settings(training__weights=weights, temperature=[0.5, 0.8], **RUN)
    ours = tiny_rankers.scorer(config)
    tiny_rankers.disturb(ours)
    other = copy.deepcopy(ours)
    start = {name: p.detach().clone() for name, p in trained(ours)}
    data = tiny_rankers.ranking_data(config)
    run(ours, data, config)

    ends = data.lists.offsets.tolist()
    targets = [torch.tensor(data.targets[a:b]).T for a, b in itertools.pairwise(ends)]
    counts = [sum(1 for target in targets if target[j].sum() > 0.5) for j in range(2)]
    beta, flat = torch.tensor([[0.5, 0.8]]), torch.tensor([[0.5, 0.5]])

    def loss(index: int) -> Tensor:
        alone = data.batch([index])
        rewards = (other(alone.contexts, flat, beta) - alone.reference)[0]
        total = torch.zeros(())
        for j, weight in enumerate(weights):
            scaled = beta[0, j] * rewards
            cross_entropy = torch.log(torch.exp(scaled).sum()) * targets[index][j].sum() - targets[index][j] @ scaled
            total = total + weight * len(data) / counts[j] * cross_entropy
        return total

    plain_steps([p for _, p in trained(other)], Sampler(data, config), loss)
    expected = dict(trained(other))
    for name, parameter in trained(ours):
        seen = torch.ones(len(parameter), dtype=torch.bool)
        if name.endswith("qkv.bias"):  # its keys, like the last norm's bias, move all scores of a list alike
            seen.view(3, -1)[1] = False
        if name != "network.norm.bias":
            torch.testing.assert_close(parameter[seen], expected[name][seen], rtol=1e-4, atol=1e-4, msg=name)
            assert not torch.allclose(parameter, start[name], atol=2e-3)


@pytest.mark.parametrize("weights", [[2.0, 0.0], [0.6, 1.4]], ids=str)
def test_only_the_ratios_of_the_weights_count(weights):
    found = []
    for scale in (1.0, 0.5):
        config = tiny_rankers.settings(training__weights=[scale * w for w in weights], **RUN)
        scorer = tiny_rankers.scorer(config)
        run(scorer, tiny_rankers.ranking_data(config), config)
        found.append(scorer.network.head.weight.detach())
    assert torch.equal(*found)
    assert found[0].abs().max() > 0

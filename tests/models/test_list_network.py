"""Networks over packed lists equal their slow twin (slow_list_network.py), list by list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cosdpo.data.packed_lists import PackedLists
from cosdpo.models.list_network import FeedForward, ListNetwork, UnitGates
from tests.models.slow_list_network import slow_scores
from tests.tiny_rankers import disturb

INPUTS, CONDITIONS = 5, 3
LENGTHS = (4, 1, 6, 2)
every_architecture = pytest.mark.parametrize("architecture", ["transformer", "mlp"])
every_conditioning = pytest.mark.parametrize("conditioning", ["concatenation", "gates", "both", None])


def network(architecture: str = "transformer", conditioning: str | None = "both", **changes: Any) -> ListNetwork:
    """A network whose parameters have all left their start; conditioning None has no conditions."""
    torch.manual_seed(0)
    shape = {"width": 12, "layers": 2, "heads": 3, "dropout": 0.0} | changes
    made = ListNetwork(
        architecture,
        INPUTS,
        CONDITIONS if conditioning else 0,
        CONDITIONS if conditioning else 0,
        conditioning or "both",
        **shape,  # type: ignore[arg-type]
    )
    disturb(made)
    return made


def packed(*lengths: int, seed: int = 1) -> PackedLists:
    features = np.random.default_rng(seed).normal(size=(sum(lengths), INPUTS)).astype(np.float32)
    return PackedLists.of(features, lengths)


def conditions(count: int, seed: int = 2) -> Tensor:
    return torch.rand(count, CONDITIONS, generator=torch.Generator().manual_seed(seed))


def scores(net: ListNetwork, lists: PackedLists, given: Tensor | None) -> Tensor:
    return net(lists.features, lists, given)


@every_architecture
@every_conditioning
@pytest.mark.parametrize("lengths", [LENGTHS, (3, 3), (1, 1), (7,)], ids=str)
def test_scores_and_gradients_equal_the_slow_twin(architecture, conditioning, lengths):
    net, lists = network(architecture, conditioning), packed(*lengths)
    given = conditions(len(lengths)) if conditioning else None
    fast = scores(net, lists, given)
    parts = lists.features.split(lengths)
    slow = torch.cat([slow_scores(net, x, None if given is None else given[b]) for b, x in enumerate(parts)])
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)

    arriving = torch.randn(fast.shape, generator=torch.Generator().manual_seed(3))
    named = dict(net.named_parameters())
    ours = torch.autograd.grad((fast * arriving).sum(), list(named.values()))
    right = torch.autograd.grad((slow * arriving).sum(), list(named.values()))
    for name, gradient, expected in zip(named, ours, right, strict=True):
        # A list of one document attends to itself alone, whatever the query and the key.
        assert expected.abs().max() > 0, name
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()), msg=name)


@every_architecture
def test_the_conditions_of_a_list_change_its_scores_alone(architecture):
    lists, given = packed(*LENGTHS), conditions(4)
    other = given.clone()
    other[2] = torch.tensor([0.9, 0.0, 0.1])
    for conditioning in ("concatenation", "gates", "both"):
        net = network(architecture, conditioning)
        change = (scores(net, lists, other) - scores(net, lists, given)).abs()
        assert (change[lists.owner == 2] > 1e-4).all()
        assert (change[lists.owner != 2] < 1e-6).all()


@every_architecture
def test_scores_follow_their_documents(architecture):
    lists, given = packed(*LENGTHS), conditions(4)
    order = torch.cat([begin + torch.randperm(n) for begin, n in zip((0, 4, 5, 11), LENGTHS, strict=True)])
    shuffled = PackedLists.of(lists.features[order].numpy(), LENGTHS)
    net = network(architecture)
    assert order.tolist() != sorted(order.tolist())
    torch.testing.assert_close(scores(net, shuffled, given), scores(net, lists, given)[order], rtol=1e-5, atol=1e-5)


@every_architecture
@pytest.mark.parametrize("lengths", [LENGTHS, (3, 3, 3)], ids=str)
def test_nothing_passes_between_lists(architecture, lengths):
    net, lists, given = network(architecture), packed(*lengths), conditions(len(lengths))
    before = scores(net, lists, given)
    for b in range(len(lengths)):
        broken = lists.features.clone()
        broken[lists.owner == b] = torch.nan  # would spread to whatever reads it
        after = scores(net, PackedLists.of(broken.numpy(), lengths), given)
        assert after[lists.owner == b].isnan().all()
        torch.testing.assert_close(after[lists.owner != b], before[lists.owner != b], rtol=1e-5, atol=1e-6)
    for b, part in enumerate(lists.features.split(lengths)):
        alone = scores(net, PackedLists.of(part.numpy(), [lengths[b]]), given[b : b + 1])
        torch.testing.assert_close(alone, before[lists.owner == b], rtol=1e-5, atol=1e-5)


def test_a_transformer_reads_the_whole_list_and_an_mlp_one_document():
    lists, given = packed(5, 2), conditions(2)
    changed = lists.features.clone()
    changed[3] += 2.0
    for architecture, others_change in (("transformer", True), ("mlp", False)):
        net = network(architecture)
        moved = scores(net, PackedLists.of(changed.numpy(), lists.lengths), given) - scores(net, lists, given)
        assert moved[3].abs() > 1e-3
        assert (moved[[0, 1, 2, 4]].abs() > 1e-4).all() == others_change
        assert others_change or (moved[[0, 1, 2, 4]].abs() < 1e-6).all()
        assert (moved[5:].abs() < 1e-6).all()


class TestGates:
    def test_by_hand(self):
        """Slopes (1, 2) and (0, -1) at c = (1, 0.5) give 1 + 2 and 1 - 0.5; at c = 0 both gates are 1."""
        gate = UnitGates(2, 2, 2)
        with torch.no_grad():
            gate.affine.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        gates = gate(torch.ones(3, 2), torch.tensor([[1.0, 0.5], [0.0, 0.0]]), torch.tensor([1, 0, 0]))
        assert gates.tolist() == [[1, 1], [3, 0.5], [3, 0.5]]

    def test_start_as_m_times_the_weight_of_each_unit_s_objective(self):
        """Units 0 and 3 of four belong to objective 0 of three: 3 w_0 = 1.5 there, 3 w_1 = 0.9 and 3 w_2 = 0.6."""
        weights = torch.tensor([[0.5, 0.3, 0.2], [1 / 3, 1 / 3, 1 / 3], [0.0, 1.0, 0.0]])
        start = UnitGates(3, 3, 4)(torch.ones(3, 4), weights, torch.tensor([0, 1, 2]))
        expected = torch.tensor([[1.5, 0.9, 0.6, 1.5], [1, 1, 1, 1], [0, 3, 0, 0]])
        torch.testing.assert_close(start, expected)

    def test_shared_units_start_at_one_everywhere(self):
        """Of five units two are shared; the others belong to the objectives in turn."""
        start = UnitGates(2, 2, 5)
        start.deal(0.4)
        gates = start(torch.ones(2, 5), torch.tensor([[1.0, 0.0], [0.3, 0.7]]), torch.tensor([0, 1]))
        torch.testing.assert_close(gates, torch.tensor([[2.0, 0, 2, 1, 1], [0.6, 1.4, 0.6, 1, 1]]))

    def test_start_without_effect_of_the_temperatures(self):
        hidden, owner, w = torch.randn(5, 6), torch.tensor([0, 0, 1, 2, 2]), conditions(3)
        start = UnitGates(3, 6, 6)
        with_temperatures = [start(hidden, torch.cat([w, conditions(3, seed)], 1), owner) for seed in (4, 5)]
        assert torch.equal(*with_temperatures)
        torch.testing.assert_close(with_temperatures[0], UnitGates(3, 3, 6)(hidden, w, owner))

    @every_architecture
    def test_a_fresh_network_at_equal_weights_is_the_ungated_one(self, architecture):
        lists, equal = packed(*LENGTHS), torch.full((4, CONDITIONS), 1 / CONDITIONS)
        gated = ListNetwork(architecture, INPUTS, CONDITIONS, CONDITIONS, "gates", 12, 2, 3, 0.0)
        plain = ListNetwork(architecture, INPUTS, 0, 0, "both", 12, 2, 3, 0.0)
        plain.load_state_dict({k: v for k, v in gated.state_dict().items() if "gate" not in k})
        torch.testing.assert_close(scores(gated, lists, equal), scores(plain, lists, None))
        vertex = torch.eye(CONDITIONS)[[0, 1, 2, 0]]
        assert (scores(gated, lists, vertex) - scores(plain, lists, None)).abs().min() > 1e-4

    @pytest.mark.parametrize("objective", range(CONDITIONS))
    def test_at_a_vertex_only_the_units_of_its_objective_act_at_first(self, objective):
        """Whatever the other units would say."""
        layer = FeedForward(4, 9, CONDITIONS, CONDITIONS, 0.0)
        hidden, owner, vertex = torch.randn(5, 4), torch.zeros(5, dtype=torch.long), torch.eye(CONDITIONS)[[objective]]
        before = layer(hidden, vertex, owner)
        others = torch.arange(9) % CONDITIONS != objective
        with torch.no_grad():
            layer.rise.weight[others] += 1.0
        assert torch.equal(layer(hidden, vertex, owner), before)
        with torch.no_grad():
            layer.rise.weight[~others] += 1.0
        assert (layer(hidden, vertex, owner) - before).abs().max() > 1e-3

    def test_where_they_are(self):
        def gates(conditioning: str) -> int:
            return sum(isinstance(module, UnitGates) for module in network(conditioning=conditioning).modules())

        # One on the embedded input and one in each of two layers.
        assert (gates("concatenation"), gates("gates"), gates("both")) == (0, 3, 3)
        assert network(conditioning="gates").embed_conditions is None


@every_architecture
def test_dropout_acts_in_training_alone(architecture):
    net, lists, given = network(architecture, dropout=0.5), packed(*LENGTHS), conditions(4)
    assert (scores(net, lists, given) - scores(net, lists, given)).abs().max() > 1e-3
    net.eval()
    assert torch.equal(scores(net, lists, given), scores(net, lists, given))
    plain = network(architecture)
    assert torch.equal(scores(net, lists, given), scores(plain, lists, given))

"""The losses: by hand, against TRL, and the invariants that padding, masks and extreme rewards must not break."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from cosdpo.losses import (
    conditioned_loss,
    cosmos_penalty,
    labelled_for,
    listwise_dpo,
    modpo_margins,
    pairwise_dpo,
    plackett_luce,
    preferences_across,
    rescale,
)

LN = math.log


def tensor(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def prefers(n: int, *pairs: tuple[int, int]) -> Tensor:
    """[1, 1, n, n] with the given ordered pairs."""
    preferred = torch.zeros(1, 1, n, n, dtype=torch.bool)
    for i, k in pairs:
        preferred[0, 0, i, k] = True
    return preferred


def everything(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def softmaxes(values: list[float], ranking: Sequence[int]) -> float:
    """Probability of an order under Plackett-Luce, as its definition has it: who is first, second and so on."""
    return math.prod(
        math.exp(values[i]) / sum(math.exp(values[k]) for k in ranking[place:]) for place, i in enumerate(ranking)
    )


def scores_of(*rankings: Sequence[int]) -> Tensor:
    """[1, m, n] scores that rank the candidates so, one objective for each ranking."""
    return -torch.argsort(torch.tensor(rankings)).double()[None]


def trl_sigmoid_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    """The mean loss that TRL's DPOTrainer computes from given sequence log-probabilities, by its own code.

    Its method reads them from a model's output and little else from the trainer; both are stood in for.
    """
    trl = pytest.importorskip("trl", reason="trl is not installed (extra `bench`)")
    logps = torch.cat([chosen, rejected])[:, None]  # one token per sequence carries the whole of it
    size = len(logps)
    output = SimpleNamespace(
        log_probs=logps,
        entropy=torch.zeros(size, 1),
        mean_logits=torch.zeros(size, 1),
        is_top1=torch.zeros(size, 1, dtype=torch.bool),
    )
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=beta,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    ids = torch.ones(size, 2, dtype=torch.long)
    inputs = {
        "input_ids": ids,
        "attention_mask": ids,
        "completion_mask": torch.tensor([[0, 1]] * size),
        "ref_chosen_logps": ref_chosen,
        "ref_rejected_logps": ref_rejected,
    }
    return trl.DPOTrainer._compute_loss(trainer, lambda **_: output, inputs, False)


@pytest.fixture
def log_probabilities() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Policy and reference log-probabilities of 16 chosen and rejected responses."""
    draws = -50 * torch.rand(4, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return draws[0], draws[1], draws[2], draws[3]


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_pairwise_equals_trl(log_probabilities, beta):
    chosen, rejected, ref_chosen, ref_rejected = log_probabilities
    rewards = torch.stack([chosen - ref_chosen, rejected - ref_rejected], 1)
    ours = pairwise_dpo(rewards, prefers(2, (0, 1)).expand(16, 1, 2, 2), torch.full((16, 1), beta, dtype=torch.float64))
    theirs = trl_sigmoid_loss(chosen, rejected, ref_chosen, ref_rejected, beta)
    torch.testing.assert_close(ours.mean(), theirs, rtol=1e-12, atol=0)


def test_pairwise_equals_the_formula(log_probabilities):
    # Rafailov et al. 2023, equation 7, written out: -log(1 / (1 + exp(-beta ((c - c_ref) - (r - r_ref))))).
    chosen, rejected, ref_chosen, ref_rejected = log_probabilities
    rewards = torch.stack([rejected - ref_rejected, chosen - ref_chosen], 1)  # the second candidate is preferred
    ours = pairwise_dpo(rewards, prefers(2, (1, 0)).expand(16, 1, 2, 2), torch.full((16, 1), 0.1, dtype=torch.float64))
    margin = 0.1 * ((chosen - ref_chosen) - (rejected - ref_rejected))
    expected = [LN(1 + math.exp(-x)) for x in margin.tolist()]
    assert ours[:, 0].tolist() == pytest.approx(expected, rel=1e-12)


def test_listwise_of_two_is_dpo():
    rewards = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    beta = tensor([0.1, 2.0]).expand(5, 2)
    targets = tensor([[1.0, 0.0], [0.0, 1.0]]).expand(5, 2, 2)  # objective 0 prefers candidate 0, objective 1 the other
    preferred = torch.cat([prefers(2, (0, 1)), prefers(2, (1, 0))], 1).expand(5, 2, 2, 2)
    listwise = listwise_dpo(rewards, targets, beta, everything(5, 2))
    torch.testing.assert_close(listwise, pairwise_dpo(rewards, preferred, beta), rtol=1e-12, atol=0)


class TestThreeCandidatesByHand:
    """Rewards (ln 4, ln 2, 0).

    Their softmax is (4, 2, 1) / 7 at beta 1 and (16, 4, 1) / 21 at beta 2; sigmoid(ln a) = a / (1 + a).
    """

    rewards = tensor([LN(4), LN(2), 0.0])

    @pytest.mark.parametrize(
        ("target", "beta", "expected"),
        [
            ([1, 0, 0], 1, LN(7 / 4)),
            ([0, 0, 1], 1, LN(7)),
            ([0.5, 0.5, 0], 1, 0.5 * LN(7 / 4) + 0.5 * LN(7 / 2)),
            ([0.2, 0.3, 0.5], 2, 0.2 * LN(21 / 16) + 0.3 * LN(21 / 4) + 0.5 * LN(21)),
            ([0, 0, 0], 1, 0.0),
        ],
    )
    def test_listwise(self, target, beta, expected):
        loss = listwise_dpo(self.rewards, tensor([target]), tensor([beta]), everything(1, 3))
        assert loss.item() == pytest.approx(expected, rel=1e-14, abs=0)

    @pytest.mark.parametrize(
        ("pairs", "beta", "expected"),
        [
            # Margins ln 2, ln 4 and ln 2 at beta 1.
            ([(0, 1), (0, 2), (1, 2)], 1, LN(3 / 2) + LN(5 / 4) + LN(3 / 2)),
            # The opposite order has margins -ln 2, -ln 4, -ln 2: sigmoids 1/3, 1/5, 1/3.
            ([(1, 0), (2, 0), (2, 1)], 1, LN(3) + LN(5) + LN(3)),
            # Margin 2 ln 4 = ln 16 at beta 2.
            ([(0, 2)], 2, LN(17 / 16)),
            ([], 1, 0.0),
        ],
    )
    def test_pairwise(self, pairs, beta, expected):
        loss = pairwise_dpo(self.rewards, prefers(3, *pairs), tensor([beta]))
        assert loss.item() == pytest.approx(expected, rel=1e-14, abs=0)

    @pytest.mark.parametrize(
        ("ranking", "beta", "expected"),
        [
            # First 4 of 7, then 2 of the remaining 3, then the last for certain.
            ([0, 1, 2], 1, LN(7 / 4) + LN(3 / 2)),
            ([2, 1, 0], 1, LN(7) + LN(6 / 2)),
            ([1, 2, 0], 1, LN(7 / 2) + LN(5)),
            ([0, 1, 2], 2, LN(21 / 16) + LN(5 / 4)),
        ],
    )
    def test_plackett_luce(self, ranking, beta, expected):
        loss = plackett_luce(self.rewards, scores_of(ranking), tensor([beta]))
        assert loss.item() == pytest.approx(expected, rel=1e-14)

    @pytest.mark.parametrize(
        ("scores", "expected"),
        [
            ([1, 1, 0], LN(5 / 4) + LN(3 / 2)),  # 4 of 4 + 1 and 2 of 2 + 1
            ([-3, 7, 7], LN(6 / 2) + LN(5)),  # 2 of 2 + 4 and 1 of 1 + 4
            ([0.5, 0.5, 0.5], 0.0),
            ([math.nan, 1, 0], LN(3 / 2)),  # an unlabelled candidate is in no choice
            ([1, math.nan, math.nan], 0.0),
        ],
    )
    def test_plackett_luce_with_ties(self, scores, expected):
        loss = plackett_luce(self.rewards, tensor([scores]), tensor([1]))
        assert loss.item() == pytest.approx(expected, rel=1e-14)

    @pytest.mark.parametrize("winner", range(3))
    def test_one_winner_over_equal_others_is_listwise(self, winner):
        target = torch.eye(3, dtype=torch.float64)[winner][None, None]
        ranked = plackett_luce(self.rewards, target, tensor([2]))
        listwise = listwise_dpo(self.rewards, target, tensor([2]), everything(1, 3))
        torch.testing.assert_close(ranked, listwise, rtol=1e-14, atol=0)

    def test_every_objective_has_its_own_temperature(self):
        targets = tensor([[1, 0, 0], [1, 0, 0]])
        loss = listwise_dpo(self.rewards, targets, tensor([1, 2]), everything(1, 3))
        assert loss[0].tolist() == pytest.approx([LN(7 / 4), LN(21 / 16)], rel=1e-14)


class TestPreferencesAcross:
    scores = torch.tensor([[[2.0, 1.0]], [[1.0, torch.nan]], [[0.0, 5.0]], [[torch.nan, torch.nan]]])

    def test_by_hand(self):
        preferred = preferences_across(self.scores, 2)
        assert preferred.shape == (2, 1, 4, 4)
        # Candidates 0, 1 of the first context and 2, 3 of the second; the last context is unlabelled.
        assert preferred[0, 0].nonzero().tolist() == [[0, 1], [0, 2]]
        assert preferred[1, 0].nonzero().tolist() == [[1, 0]]

    def test_alone_it_compares_within_contexts(self):
        assert preferences_across(self.scores, 1).nonzero().tolist() == [[0, 0, 0, 1], [2, 0, 1, 0]]

    def test_objectives_stay_apart(self):
        scores = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
        preferred = preferences_across(scores, 3)
        for j in range(3):
            values = scores[:, j].reshape(2, 12)
            assert torch.equal(preferred[:, j], values[:, :, None] > values[:, None, :])


def test_a_context_is_labelled_for_objectives_of_which_two_labels_differ():
    nan = math.nan
    scores = tensor([[0, 1, nan], [2, 2, nan]], [[nan, nan, nan], [3, 3, 4]], [[5, nan, nan], [-1, 0, 0]])
    assert labelled_for(scores).tolist() == [[True, False], [False, True], [False, True]]
    pairs = preferences_across(scores, 1).any((2, 3))
    assert torch.equal(labelled_for(scores), pairs)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_plackett_luce_of_a_strict_order_is_the_product_of_softmaxes(n):
    rewards = tensor([0.3, -1.2, 2.0, 0.1][:n])
    rankings = list(itertools.permutations(range(n)))  # as n! objectives of one context
    betas = torch.linspace(0.1, 3, len(rankings), dtype=torch.float64)[None]
    losses = plackett_luce(rewards, scores_of(*rankings), betas)
    expected = [softmaxes((b * rewards[0]).tolist(), order) for b, order in zip(betas[0], rankings, strict=True)]
    assert torch.exp(-losses)[0].tolist() == pytest.approx(expected, rel=1e-12)
    together = plackett_luce(rewards, scores_of(*rankings), torch.full_like(betas, 0.7))
    assert torch.exp(-together).sum().item() == pytest.approx(1, rel=1e-12)


def test_plackett_luce_of_two_is_dpo():
    rewards = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    beta = tensor([0.1, 2.0]).expand(5, 2)
    scores = scores_of([0, 1], [1, 0]).expand(5, 2, 2)
    preferred = torch.cat([prefers(2, (0, 1)), prefers(2, (1, 0))], 1).expand(5, 2, 2, 2)
    torch.testing.assert_close(
        plackett_luce(rewards, scores, beta), pairwise_dpo(rewards, preferred, beta), rtol=1e-12, atol=0
    )


def test_plackett_luce_equals_the_choices_one_by_one():
    """Each candidate out of itself and those strictly below it, with ties, gaps and padding; gradients too."""
    random = torch.Generator().manual_seed(2)
    rewards = torch.randn(6, 7, generator=random, dtype=torch.float64).requires_grad_()
    scores = torch.randint(-2, 2, (6, 2, 7), generator=random).double()
    scores[torch.rand(6, 2, 7, generator=random) < 0.2] = torch.nan
    scores[1, 0], scores[2, 1], scores[3, :, 4:] = torch.nan, 1.0, torch.nan
    beta = 0.5 + torch.rand(6, 2, generator=random, dtype=torch.float64)
    losses = torch.zeros(6, 2, dtype=torch.float64)
    for b, j, i in itertools.product(range(6), range(2), range(7)):
        below = [k for k in range(7) if scores[b, j, k] < scores[b, j, i]]
        if below:
            losses[b, j] -= (beta[b, j] * rewards[b, [i, *below]]).log_softmax(0)[0]
    ours = plackett_luce(rewards, scores, beta)
    torch.testing.assert_close(ours, losses, rtol=1e-12, atol=1e-14)
    assert (ours == 0).nonzero().tolist() == [[1, 0], [2, 1]]
    weights = torch.randn(6, 2, generator=random, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * ours).sum(), rewards)
    (expected,) = torch.autograd.grad((weights * losses).sum(), rewards)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-13)


def test_no_overflow_at_rewards_of_ten_thousand():
    # At beta 1 the likely order costs nothing, the reverse exactly the margin: 2e4 for the pair, and 2e4 (top of
    # three by 2e4) + 1e4 for the ranking.
    rewards, beta = tensor([1e4, 0.0, -1e4]).float(), tensor([1.0]).float()
    all_there = everything(1, 3)
    assert listwise_dpo(rewards, tensor([[1, 0, 0]]).float(), beta, all_there).item() == 0
    assert listwise_dpo(rewards, tensor([[0, 0, 1]]).float(), beta, all_there).item() == 2e4
    assert pairwise_dpo(rewards, prefers(3, (0, 2)), beta).item() == 0
    assert pairwise_dpo(rewards, prefers(3, (2, 0)), beta).item() == 2e4
    assert plackett_luce(rewards, scores_of([0, 1, 2]), beta).item() == 0
    assert plackett_luce(rewards, scores_of([2, 1, 0]), beta).item() == 3e4


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # The likely order is sure of itself; in the reverse each choice is lost to the best below it: the last one to
        # the first, the middle one too.
        ([2, 1, 0], [0, 0, 0]),
        ([0, 1, 2], [2, -1, -1]),
        ([0, 1, 1], [2, -1, -1]),
        ([1, 1, 1], [0, 0, 0]),
    ],
)
def test_gradients_of_rankings_at_rewards_of_ten_thousand(scores, expected):
    rewards = tensor([1e4, 0.0, -1e4]).float().requires_grad_()
    loss = plackett_luce(rewards, tensor([scores]), tensor([1.0]).float())
    (gradient,) = torch.autograd.grad(loss.sum(), rewards)
    assert gradient[0].tolist() == pytest.approx(expected, abs=1e-3)


def three_losses(rewards: Tensor, padding: int = 0) -> list[Tensor]:
    """Every loss of two contexts with three candidates and two objectives, the second of them without a label in the
    second context; `padding` candidates are appended with the rewards given for them.
    """
    n = 3 + padding
    beta = tensor([1, 2]).expand(2, 2)
    targets, preferred = torch.zeros(2, 2, n, dtype=torch.float64), torch.zeros(2, 2, n, n, dtype=torch.bool)
    targets[0, :, :3] = tensor([0.2, 0.3, 0.5], [1, 0, 0])
    targets[1, 0, :3] = tensor(0, 1, 0)
    preferred[0, 0, 0, 1] = preferred[0, 1, 2, 0] = preferred[1, 0, 1, 2] = True
    scores = torch.full((2, 2, n), torch.nan, dtype=torch.float64)
    scores[0, :, :3] = tensor([1, 0, 2], [1, 0, 1])
    scores[1, 0, :3] = tensor(0, 1, 0)
    mask = torch.arange(n).expand(2, n) < 3
    return [
        listwise_dpo(rewards, targets, beta, mask),
        pairwise_dpo(rewards, preferred, beta),
        plackett_luce(rewards, scores, beta),
    ]


def test_padded_candidates_change_neither_losses_nor_gradients():
    plain = tensor([0.5, -1.0, 2.0], [0.1, 0.2, 0.3]).requires_grad_()
    padded = torch.cat([plain.detach(), tensor([7.0, 0.0], [1e4, -3.0])], 1).requires_grad_()
    for bare, with_padding in zip(three_losses(plain), three_losses(padded, padding=2), strict=True):
        torch.testing.assert_close(with_padding, bare, rtol=1e-12, atol=0)
        (expected,) = torch.autograd.grad(bare.sum(), plain)
        (gradient,) = torch.autograd.grad(with_padding.sum(), padded)
        torch.testing.assert_close(gradient[:, :3], expected, rtol=1e-10, atol=1e-14)
        assert gradient[:, 3:].eq(0).all()


def test_an_unlabelled_objective_has_loss_and_gradient_zero():
    rewards = tensor([0.5, -1.0, 2.0], [0.1, 0.2, 0.3]).requires_grad_()
    for loss in three_losses(rewards):
        assert loss[1, 1].item() == 0
        (gradient,) = torch.autograd.grad(loss[1, 1], rewards)
        assert gradient.eq(0).all()


class TestCosmosPenalty:
    def test_by_hand(self):
        # cos((.6, .8), (4, 3)) = (2.4 + 2.4) / (1 * 5) = .96
        penalty = cosmos_penalty(tensor([0.6, 0.8]), tensor([4, 3]), everything(1, 2))
        assert penalty.item() == pytest.approx(-0.96, rel=1e-12)

    def test_losses_along_the_weights_are_best(self):
        weights = tensor([0.2, 0.3, 0.5], [0.2, 0.3, 0.5])
        penalty = cosmos_penalty(weights, tensor([2, 3, 5], [5, 3, 2]), everything(2, 3))
        assert penalty[0].item() == pytest.approx(-1, rel=1e-12)
        assert penalty[1].item() > -1

    def test_only_labelled_objectives_count(self):
        # The third objective is unlabelled, whatever stands in its place: the pair above remains.
        penalty = cosmos_penalty(tensor([0.6, 0.8, 0.9]), tensor([4, 3, 0]), torch.tensor([[True, True, False]]))
        assert penalty.item() == pytest.approx(-0.96, rel=1e-12)

    @pytest.mark.parametrize("labelled", [[True, False], [False, False]])
    def test_a_direction_needs_two_labelled_objectives(self, labelled):
        losses = tensor([4, 3]).requires_grad_()
        penalty = cosmos_penalty(tensor([0.6, 0.8]), losses, torch.tensor([labelled]))
        assert penalty.item() == 0
        (gradient,) = torch.autograd.grad(penalty.sum(), losses)
        assert gradient.eq(0).all()

    def test_in_the_conditioned_loss(self):
        # .6 * 4 + .8 * 3 = 4.8, and 2 * -.96 with the penalty.
        arguments = tensor([0.6, 0.8]), tensor([4, 3]), everything(1, 2)
        assert conditioned_loss(*arguments).item() == pytest.approx(4.8, rel=1e-12)
        assert conditioned_loss(*arguments, penalty=2.0).item() == pytest.approx(4.8 - 1.92, rel=1e-12)

    def test_gradient_equals_finite_differences(self):
        weights = tensor([0.6, 0.8, 0.1], [0.0, 1.0, 0.0])
        losses = tensor([4, 3, 1], [0.5, 0.2, 0.9]).requires_grad_()
        labelled = torch.tensor([[True, True, False], [True, True, True]])
        assert torch.autograd.gradcheck(lambda x: conditioned_loss(weights, x, labelled, 0.5), losses)


class TestModpo:
    """MO-DPO's published loss of objective j.

        L = - log sigmoid( (1 / w_j) [ beta (Delta log pi - Delta log pi_ref) - sum_{k != j} w_k Delta r^k ] )

    Delta is preferred minus dispreferred. At w = (.5, .3, .2), j = 0 and beta = .1:

        Delta log pi - Delta log pi_ref    Delta r^1   Delta r^2    argument of the sigmoid
        10                                  1          -.5          (1 - (.3 - .1)) / .5 = 1.6
        -4                                  2          1            (-.4 - (.6 + .2)) / .5 = -2.4
        0                                   -1         -1.5         (0 - (-.3 - .3)) / .5 = 1.2
    """

    beta, own, others = 0.1, 0.5, tensor(0.3, 0.2)
    # Preferred and dispreferred candidate of the three pairs; only their differences are given above.
    rewards = tensor([7, -3], [-1, 3], [2, 2])
    margin_rewards = torch.stack([tensor([1, 0], [1, -1], [0, 1]), tensor([0, 0.5], [4, 3], [-1, 0.5])])

    def trained(self, rewards: Tensor, margin_rewards: Tensor) -> tuple[Tensor, Tensor]:
        """What the loop makes of it: rewards less margins, at temperature beta / w_j."""
        shifted = rewards - modpo_margins(margin_rewards, self.others, self.beta)
        return shifted, torch.full((len(rewards), 1), self.beta / self.own, dtype=torch.float64)

    def test_pairwise_by_hand(self):
        losses = pairwise_dpo(*self.preferring_the_first(*self.trained(self.rewards, self.margin_rewards)))
        expected = [LN(1 + math.exp(-1.6)), LN(1 + math.exp(2.4)), LN(1 + math.exp(-1.2))]
        assert losses[:, 0].tolist() == pytest.approx(expected, rel=1e-12)

    @staticmethod
    def preferring_the_first(rewards: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return rewards, prefers(2, (0, 1)).expand(len(rewards), 1, 2, 2), beta

    def test_listwise_by_hand(self):
        # beta r = (2, 1, 0), sum_k w_k r^k = (.3 + 0, 0 + .2, -.3 + .4) = (.3, .2, .1); over w_j: (3.4, 1.6, -.2).
        rewards, margin_rewards = tensor([20, 10, 0]), torch.stack([tensor([1, 0, -1]), tensor([0, 1, 2])])
        shifted, beta = self.trained(rewards, margin_rewards)
        loss = listwise_dpo(shifted, tensor([[0.6, 0.4, 0]]), beta, everything(1, 3))
        normaliser = LN(math.exp(3.4) + math.exp(1.6) + math.exp(-0.2))
        assert loss.item() == pytest.approx(0.6 * (normaliser - 3.4) + 0.4 * (normaliser - 1.6), rel=1e-12)

    def test_all_the_weight_and_no_margins_is_dpo(self):
        margins = modpo_margins(torch.zeros(2, 3, 2, dtype=torch.float64), self.others, self.beta)
        beta = torch.full((3, 1), self.beta / 1.0, dtype=torch.float64)
        losses = pairwise_dpo(*self.preferring_the_first(self.rewards - margins, beta))
        # Margins 1, -.4 and 0 of plain DPO at beta .1.
        assert losses[:, 0].tolist() == pytest.approx([LN(1 + math.exp(-1)), LN(1 + math.exp(0.4)), LN(2)], rel=1e-12)

    def test_a_constant_per_context_in_a_margin_reward_changes_nothing(self):
        # A reward is known up to a constant of the prompt.
        plain = pairwise_dpo(*self.preferring_the_first(*self.trained(self.rewards, self.margin_rewards)))
        moved = self.margin_rewards + tensor([[5], [-7], [100]], [[1], [2], [3]])
        other = pairwise_dpo(*self.preferring_the_first(*self.trained(self.rewards, moved)))
        torch.testing.assert_close(other, plain, rtol=1e-9, atol=0)


class TestRescale:
    def test_by_hand(self):
        # (1 - 1/2) * 3 + (1/2) * 7 = 5, and (1 - 2) * 3 + 2 * 7 = 11.
        assert rescale(tensor(7), tensor(3), 2.0).item() == 5
        assert rescale(tensor(7), tensor(3), 0.5).item() == 11
        torch.testing.assert_close(
            rescale(tensor([7, 7], [7, 7]), tensor([3, 3], [3, 3]), tensor([2.0], [0.5])),
            tensor([5, 5], [11, 11]),
        )

    def test_one_is_the_model_and_much_is_the_reference(self):
        scores, reference = tensor(7, -2), tensor(3, 1)
        torch.testing.assert_close(rescale(scores, reference, 1.0), scores)
        torch.testing.assert_close(rescale(scores, reference, 1e12), reference)

    def test_scales_compose(self):
        scores, reference = tensor(7, -2), tensor(3, 1)
        twice = rescale(rescale(scores, reference, 2.0), reference, 3.0)
        torch.testing.assert_close(twice, rescale(scores, reference, 6.0))

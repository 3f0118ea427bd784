"""Language models on a GPU that computes nothing: every tensor is where those that it meets are."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers import AutoModelForCausalLM

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.base import checkpoint_activations, freeze
from cosdpo.models.conditioning import HyperPrompt
from cosdpo.models.generation import generate
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.packing import ATTENTION
from cosdpo.training.loop import optimizer_for
from cosdpo.training.meter import Meter
from cosdpo.training.objective import Objective
from cosdpo.training.strategies.strategy import Strategy
from tests.fake_gpu import GPU, fake_gpu, onto_gpu
from tests.tiny_models import FORM_NAMES, FORMS, KINDS, settings, shape

CONTEXTS = [
    TokenizedContext([5, 6, 7], [[8, 9], [10]]),
    TokenizedContext([5, 6, 7, 8, 9, 10, 11, 12], [[8, 9, 3], [10], [4, 4, 4, 4]]),
]
every_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def scorer_on_gpu(kind: str, config: Config, dtype: torch.dtype = torch.float32) -> LanguageScorer:
    """A scorer of fake tensors; called under fake_gpu."""
    with unset_fake_temporarily(), torch.device("meta"):
        base = freeze(AutoModelForCausalLM.from_config(shape(kind), dtype=dtype, attn_implementation=ATTENTION))
        scorer = LanguageScorer.create(config, base)
    onto_gpu(scorer)
    return scorer


def weights(rows: int = 2) -> torch.Tensor:
    return torch.tensor([[0.3, 0.7]] * rows).to(GPU, non_blocking=True)


def test_it_refuses_what_a_gpu_would(monkeypatch):
    with fake_gpu(monkeypatch), pytest.raises(RuntimeError, match="device"):
        torch.ones(3, device=GPU) + torch.ones(3)


@pytest.mark.parametrize("kind", KINDS)
@every_type
def test_scoring_and_losses_do_not_wait(monkeypatch, kind, dtype):
    config = settings("x", conditioning="both", scope="response", training__penalty=0.1)
    with fake_gpu(monkeypatch) as waits:
        scorer = scorer_on_gpu(kind, config, dtype)
        strategy = Strategy(scorer, optimizer_for(scorer, config))
        scores = [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0, 2.0], None]]
        data = PreferenceData(CONTEXTS, scores, [np.zeros(2), np.zeros(3)], config.data)
        objective, meter = Objective(data, config), Meter(config.objectives, 2, data.unit)
        waits.found.clear()
        for _ in range(2):
            batch = data.batch([0, 1]).to(GPU)
            minimised = objective.minimised(strategy, batch, weights(), weights())
            rewards = (strategy.score(batch.contexts, weights(), weights()) - batch.reference) * batch.mask
            losses = objective.losses(rewards, batch, weights())
            loss = minimised(rewards, losses).sum()
            meter.add(losses, loss, batch.items)
        assert waits.found == []


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_every_way_of_scoring(monkeypatch, form):
    config = settings("x", **{"conditioning": "both", **form})
    with fake_gpu(monkeypatch):
        scorer = scorer_on_gpu("llama-untied", config).eval()
        checkpoint_activations(scorer.model.get_base_model())
        results = [
            scorer.reference(CONTEXTS),
            *scorer.rescaled_to_each(CONTEXTS, weights(), weights(), [0.5, 1, 3]),
            *scorer.divergence(CONTEXTS, weights(), weights(), [0.5, 2]),
        ]
        assert all(result.device == GPU for result in results)


def test_soft_tokens_are_made_for_a_base_that_is_on_the_gpu_already(monkeypatch):
    """As one in 4 bits is."""
    with fake_gpu(monkeypatch):
        assert HyperPrompt(3, 8, 2, torch.tensor(0.5).to(GPU, non_blocking=True)).slope.device == GPU


@pytest.mark.parametrize("scope", ["response", "sequence"])
def test_text_is_generated(monkeypatch, scope):
    config = settings("x", conditioning="both", scope=scope)
    with fake_gpu(monkeypatch):
        scorer = scorer_on_gpu("llama-untied", config).eval()
        with torch.no_grad():
            rows = generate(scorer, [[5, 6, 7], [8]], weights(), None, 3, sampling_temperature=0.0)
        assert [len(row) for row in rows] == [3, 3]

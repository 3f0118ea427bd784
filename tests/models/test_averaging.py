"""The average of trained scorers: exact for LoRA, held against a twin that adds every update to the base's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.models import averaging
from cosdpo.models import language_scorer as language
from cosdpo.models import ranking_scorer as ranker
from cosdpo.models.averaging import average
from cosdpo.models.base import load_base
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.ranking_scorer import RankingScorer
from tests import tiny_rankers
from tests.models.conftest import disturb
from tests.models.slow_twin import SlowTwin

CONTEXTS = [
    TokenizedContext([5, 9, 20], [[7, 8, 30], [11], [40, 3]]),
    TokenizedContext([17], [[6, 6], [25, 12, 44, 2]]),
]
WEIGHTS = torch.tensor([[0.3, 0.7]]).expand(2, 2)
CPU = torch.device("cpu")
SCALING = 2.0
"""lora_alpha 8 over rank 4."""
Train = Callable[..., Path]


@pytest.fixture
def checkpoint(make_scorer, tmp_path) -> Train:
    """The checkpoint folder of an unconditioned run that has left its start."""

    def save(kind: str, seed: int, **form: object) -> Path:
        scorer = make_scorer(kind, **{"conditioning": "none", **form})
        disturb(scorer, seed)
        folder = tmp_path / f"{kind}-{len(list(tmp_path.iterdir()))}"
        scorer.save(folder)
        return folder

    return save


def scores(scorer: LanguageScorer) -> Tensor:
    with torch.no_grad():
        return scorer(CONTEXTS, WEIGHTS, WEIGHTS)


def averaged(shares: Mapping[Path, float]) -> Tensor:
    return scores(average(shares, torch.float32, CPU))


def factors(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B by the name of their matrix in the body, read from the adapter's file."""
    tensors = load_file(folder / "adapters.safetensors")
    names = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    return {
        name.split(".", 3)[3]: (tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]) for name in names
    }


class SummedTwin(SlowTwin):
    """Slow twin whose weights are the base's plus given updates."""

    def __init__(self, scorer: LanguageScorer, updates: dict[str, Tensor]) -> None:
        super().__init__(scorer, Path(scorer.card.base))
        self.updates = updates

    def merged(self, gates: Tensor) -> dict[str, Tensor]:
        found = {}
        for name, update in self.updates.items():
            weight = self.plain.base_model.get_parameter(f"{name}.weight")
            transposed = self.plain.config.model_type == "gpt2"  # which stores [in, out]
            found[f"{name}.weight"] = weight + (update.T if transposed else update)
        return found

    def scores(self) -> Tensor:
        rows = torch.zeros(2, 3)
        for i, context in enumerate(CONTEXTS):
            for k, y in enumerate(context.candidates):
                rows[i, k] = self.score(context.prompt, y, WEIGHTS[i], WEIGHTS[i])
        return rows


@pytest.mark.parametrize("scope", ["sequence", "response"])
@pytest.mark.parametrize("kind", ["gpt2-tied", "llama-untied"])
def test_the_average_is_the_base_with_all_updates_added(checkpoint, kind, scope):
    one, two = checkpoint(kind, 1, scope=scope), checkpoint(kind, 2, scope=scope)
    soup = average({one: 0.3, two: 0.7}, torch.float32, CPU)
    first, second = factors(one), factors(two)
    assert len(first) == (8 if kind.startswith("gpt2") else 14)  # matrices of two layers
    with torch.no_grad():
        sums = {
            name: SCALING * (0.3 * first[name][1] @ first[name][0] + 0.7 * second[name][1] @ second[name][0])
            for name in first
        }
        torch.testing.assert_close(scores(soup), SummedTwin(soup, sums).scores(), rtol=1e-4, atol=1e-4)

        # Averaged factors would mix B_1 with A_2.
        mixed = {
            name: SCALING
            * (0.3 * first[name][1] + 0.7 * second[name][1])
            @ (0.3 * first[name][0] + 0.7 * second[name][0])
            for name in first
        }
        assert (scores(soup) - SummedTwin(soup, mixed).scores()).abs().max() > 0.05


def test_three_runs(checkpoint):
    folders = [checkpoint("llama-tied", seed) for seed in (1, 2, 3)]
    shares = dict(zip(folders, (0.2, 0.3, 0.5), strict=True))
    soup = average(shares, torch.float32, CPU)
    parts = [factors(folder) for folder in folders]
    sums = {
        name: SCALING
        * sum(share * part[name][1] @ part[name][0] for share, part in zip(shares.values(), parts, strict=True))
        for name in parts[0]
    }
    with torch.no_grad():
        torch.testing.assert_close(scores(soup), SummedTwin(soup, sums).scores(), rtol=1e-4, atol=1e-4)


def test_one_run_alone_is_that_run_bit_for_bit(checkpoint):
    one, two = checkpoint("gpt2-tied", 1), checkpoint("gpt2-tied", 2)
    for folder in (one, two):
        assert torch.equal(averaged({folder: 1.0}), scores(LanguageScorer.load(folder)))
    assert (averaged({one: 1.0}) - averaged({two: 1.0})).abs().max() > 0.05
    torch.testing.assert_close(averaged({one: 1.0, two: 0.0}), averaged({one: 1.0}), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(averaged({one: 0.0, two: 1.0}), averaged({two: 1.0}), rtol=1e-5, atol=1e-5)


def test_a_conditioned_run_alone_is_itself(checkpoint):
    folder = checkpoint("gpt2-tied", 1, conditioning="both")
    assert torch.equal(averaged({folder: 1.0}), scores(LanguageScorer.load(folder)))


def test_the_order_of_the_runs_does_not_count(checkpoint):
    one, two = checkpoint("gpt2-tied", 1), checkpoint("gpt2-tied", 2)
    torch.testing.assert_close(averaged({one: 0.3, two: 0.7}), averaged({two: 0.7, one: 0.3}), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        {"conditioning": "gated_lora"},
        {"conditioning": "hyper_prompt"},
        {"model__lora_rank": 2},
        {"model__lora_alpha": 4.0},
        {"model__lora_targets": ["c_attn"]},
        {"scope": "response"},
    ],
    ids=lambda form: "-".join(map(str, form.values())),
)
@pytest.mark.parametrize("place", ["first", "last"])
def test_runs_that_differ_are_refused(checkpoint, form, place):
    plain, other = checkpoint("gpt2-tied", 1), checkpoint("gpt2-tied", 2, **form)
    order = [plain, other] if place == "last" else [other, plain]
    with pytest.raises(InputError, match="can be averaged"):
        average(dict.fromkeys(order, 0.5), torch.float32, CPU)


def test_runs_on_different_bases_are_refused(checkpoint):
    # Their shapes are the same.
    one, two = checkpoint("gpt2-tied", 1), checkpoint("gpt2-untied", 2)
    with pytest.raises(InputError, match="can be averaged"):
        average({one: 0.3, two: 0.7}, torch.float32, CPU)


class TestRankers:
    @pytest.fixture
    def folders(self, tmp_path) -> list[Path]:
        config = tiny_rankers.settings(training__weights=[0.0, 1.0])
        made = [tmp_path / "one", tmp_path / "two"]
        for seed, folder in enumerate(made):
            scorer = tiny_rankers.scorer(config)
            tiny_rankers.disturb(scorer, seed)
            scorer.save(folder)
        return made

    @staticmethod
    def scores(scorer: RankingScorer) -> Tensor:
        data = tiny_rankers.ranking_data(tiny_rankers.settings())
        weights = torch.full((len(data), 2), 0.5)
        with torch.no_grad():
            return scorer(data.batch(range(len(data))).contexts, weights, weights)

    def test_the_average_is_that_of_the_parameters(self, folders):
        soup = ranker.average({folders[0]: 0.3, folders[1]: 0.7}, CPU)
        files = [load_file(folder / "model.safetensors") for folder in folders]
        assert soup.state_dict().keys() == files[0].keys() == files[1].keys()
        for name, tensor in soup.state_dict().items():
            torch.testing.assert_close(tensor, 0.3 * files[0][name] + 0.7 * files[1][name], rtol=1e-6, atol=1e-7)
        by_hand = RankingScorer.load(folders[0])
        by_hand.load_state_dict({name: 0.3 * files[0][name] + 0.7 * files[1][name] for name in files[0]})
        torch.testing.assert_close(self.scores(soup), self.scores(by_hand), rtol=1e-5, atol=1e-5)
        # Not the average of their scores.
        mean = sum(s * self.scores(RankingScorer.load(f)) for s, f in zip((0.3, 0.7), folders, strict=True))
        assert (self.scores(soup) - mean).abs().max() > 0.01
        assert not soup.training

    def test_one_run_alone_is_that_run_bit_for_bit(self, folders):
        for folder in folders:
            assert torch.equal(self.scores(ranker.average({folder: 1.0}, CPU)), self.scores(RankingScorer.load(folder)))


@pytest.mark.parametrize("count", [1, 2])
def test_a_quantised_run_is_measured_on_its_quantised_base(checkpoint, monkeypatch, count):
    asked = []

    def load(name: str, dtype: torch.dtype, quantization: str = "none") -> object:
        asked.append(quantization)
        return load_base(name, dtype)

    for module in (averaging, language):
        monkeypatch.setattr(module, "load_base", load)
    average({checkpoint("llama-tied", seed): 1 / count for seed in range(count)}, torch.float32, CPU, "nf4")
    assert asked == ["nf4"]  # and loaded once, however many runs there are

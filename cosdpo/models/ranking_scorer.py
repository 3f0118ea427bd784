"""Rankers: scores of the documents of a query, conditioned on the weights of the objectives.

    scores[B, n] = scorer(lists, weights[B, m], temperatures[B, m])

The base is trained on the main label and then frozen: it is the reference s_ref. The conditioned scorer adds to it,

    s(w, beta) = s_ref + u(x, w, bbar) / mean(beta)                                                (augmentation)

with u = 0 at first. The loss sees beta_j r = u beta_j / mean(beta) only, so that the same network is the optimum at
every scale of beta, exactly (models/temperature.py: the linear transformation property). Without a base to add to, the
network gives the scores at the trained temperature and they are rescaled from there (scratch).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cosdpo.arrays import Floats, Singles
from cosdpo.config import Config
from cosdpo.data.packed_lists import PackedLists
from cosdpo.errors import InputError
from cosdpo.losses import rescale
from cosdpo.models.cards import BaseCard, Card, NetworkCard, RankingCard
from cosdpo.models.list_network import ListNetwork, UnitGates
from cosdpo.models.standardiser import Standardiser
from cosdpo.models.temperature import Temperature, temperatures
from cosdpo.models.tensors import fill
from cosdpo.simplex import normalise

WEIGHTS = "model.safetensors"


class Ranker(nn.Module):
    """What base and conditioned rankers share."""

    def decays(self, name: str) -> bool:
        """Whether AdamW's weight decay acts on a parameter: on matrices, not on biases and norms."""
        return self.get_parameter(name).ndim > 1

    def trained_parameters(self) -> int:
        """Number of parameters that are trained."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


class BaseRanker(Ranker):
    """The unconditioned ranker of the main label."""

    def __init__(self, card: BaseCard) -> None:
        super().__init__()
        self.card = card
        self.standardiser = Standardiser(len(card.numbers), card.log1p, card.list_features)
        self.network = ListNetwork(
            inputs=self.standardiser.inputs,
            objectives=0,
            conditions=0,
            conditioning="both",
            **card.network.model_dump(),
        )

    @classmethod
    def create(cls, config: Config, numbers: Sequence[int], standardiser: Standardiser) -> BaseRanker:
        """A fresh base, initialised under torch's current seed, with the statistics of a fitted standardiser."""
        ranker = config.ranker
        base = cls(
            BaseCard(
                numbers=list(numbers),
                log1p=ranker.log1p,
                list_features=ranker.list_features,
                network=NetworkCard.of(config),
            )
        )
        base.standardiser.load_state_dict(standardiser.state_dict())
        return base

    def forward(self, lists: PackedLists, weights: Tensor | None = None, temperatures: Tensor | None = None) -> Tensor:
        """Scores [B, n]; weights and temperatures do not enter."""
        return lists.pad(self.scores(lists))

    def scores(self, lists: PackedLists) -> Tensor:
        """Scores [T] of packed documents."""
        scores: Tensor = self.network(self.standardiser(lists), lists, None)
        return scores

    def save(self, folder: Path) -> None:
        """Writes cosdpo.json and model.safetensors."""
        _write(folder, self.card, self)

    @classmethod
    def load(cls, folder: Path) -> BaseRanker:
        """A frozen base from `save`.

        Raises:
            InputError: the folder does not hold a base ranker.
        """
        card = BaseCard.read(folder)
        base = cls(card)
        _read_weights(folder, base, base.standardiser)
        return base.eval().requires_grad_(False)


class RankingScorer(Ranker):
    """The conditioned ranker over the objectives named by its card, with its frozen base."""

    def __init__(self, base: BaseRanker, card: RankingCard) -> None:
        super().__init__()
        self.card = card
        self.base = base.requires_grad_(False)
        m = 0 if card.conditioning == "none" else len(card.objectives)
        self.network = ListNetwork(
            inputs=base.standardiser.inputs,
            objectives=m,
            conditions=2 * m if card.temperature_conditioned else m,
            conditioning="both" if card.conditioning == "none" else card.conditioning,
            **card.network.model_dump(),
        )
        if card.parametrisation == "augmentation":
            nn.init.zeros_(self.network.head.weight)

    @classmethod
    def create(cls, config: Config, base: BaseRanker) -> RankingScorer:
        """A fresh scorer on `base`, initialised under torch's current seed."""
        data = config.data
        card = RankingCard(
            base=base.card,
            objectives=config.objectives,
            auxiliary={name: number + 1 - data.first_feature for name, number in data.auxiliary.items()},
            trained_temperature=config.temperatures,
            temperature_conditioned=config.model.temperature_conditioned,
            parametrisation=config.ranker.parametrisation,
            conditioning=config.ranker.conditioning if config.conditioned else "none",
            network=NetworkCard.of(config),
        )
        scorer = cls(base, card)
        for module in scorer.network.modules():
            if isinstance(module, UnitGates):
                module.deal(config.ranker.shared_units)
        return scorer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.head.weight.device

    def train(self, mode: bool = True) -> Self:
        """The base stays in evaluation mode: the reference has no dropout."""
        super().train(mode)
        self.base.eval()
        return self

    def conditions(self, weights: Tensor, temperatures: Tensor) -> Tensor:
        """[w] or [w; bbar], shape [B, m] or [B, 2m]; they do not enter a single-weight run."""
        if not self.card.temperature_conditioned:
            return weights
        return torch.cat([weights, temperatures / temperatures.sum(-1, keepdim=True)], -1)

    def forward(self, lists: PackedLists, weights: Tensor, temperatures: Tensor) -> Tensor:
        """s(x, y, w, beta), [B, n]; absent documents are 0.

        Args:
            weights: [B, m] on the scorer's device.
            temperatures: [B, m]; their scale always counts, their ratios only for a temperature-conditioned model.
        """
        features = self.base.standardiser(lists)
        output = self.network(features, lists, self.conditions(weights, temperatures))
        reference = lists.reference
        if reference is None:
            with torch.no_grad():
                reference = self.base.network(features, lists, None)
        scale = temperatures.mean(-1).index_select(0, lists.owner)
        if self.card.parametrisation == "augmentation":
            return lists.pad(reference + output / scale)
        trained = float(np.mean(self.card.trained_temperature))
        return lists.pad(rescale(output, reference, scale / trained))

    def inputs(self, features: npt.ArrayLike) -> Singles:
        """The input features [n, F] of `features`, as for `score`.

        Raises:
            InputError: features of another width, not finite or none.
        """
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
            rows = np.asarray(features, dtype=np.float32)
        numbers = self.card.base.numbers
        whole = max([*numbers, *self.card.auxiliary.values()])
        if rows.ndim != 2 or len(rows) == 0 or rows.shape[1] not in (len(numbers), whole):
            raise InputError(
                f"features have shape {rows.shape}; give a row per document of {len(numbers)} input features, or of "
                f"all {whole} in number order"
            )
        if not np.isfinite(rows).all():
            raise InputError("features must be finite")
        if rows.shape[1] != len(numbers):
            rows = np.ascontiguousarray(rows[:, np.array(numbers) - 1])
        return rows

    @torch.no_grad()
    def score(
        self,
        features: npt.ArrayLike,
        weights: Sequence[float] | Mapping[str, float],
        temperature: Temperature = None,
    ) -> Floats:
        """Scores of the documents of one query at one trade-off, [n]; the higher, the better.

        Args:
            features: [n, F] the input features in the order of card.base.numbers, or [n, W] all features of the data
                set in number order, from which the inputs are picked.
            weights: [m] in the order of the objectives, or by name; scaled to sum 1.
            temperature: DPO temperature, one or one per objective; None is the trained one. The scores are exactly
                those of the optimum at that temperature.

        Raises:
            InputError: features of another width, not finite or none, wrong weights, or temperatures whose ratios this
                model was not trained for.
        """
        rows = self.inputs(features)
        beta = temperatures(temperature, self.card.trained_temperature, self.card.temperature_conditioned)
        lists = PackedLists.of(rows, [len(rows)]).to(self.device)
        w = torch.tensor(normalise(weights, self.card.objectives), dtype=torch.float32, device=self.device)[None]
        scores = self(lists, w, torch.tensor(beta, dtype=torch.float32, device=self.device)[None])[0]
        result: Floats = scores.double().cpu().numpy()
        return result

    def save(self, folder: Path) -> None:
        """Writes cosdpo.json and model.safetensors, which holds the base too."""
        _write(folder, self.card, self)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> RankingScorer:
        """A scorer from `save`.

        Raises:
            InputError: the folder does not hold a conditioned ranker.
        """
        card = RankingCard.read(folder)
        scorer = cls(BaseRanker(card.base), card)
        _read_weights(folder, scorer, scorer.base.standardiser)
        return scorer.to(device).eval()


def average(shares: Mapping[Path, float], device: torch.device) -> RankingScorer:
    """The ranker whose parameters are sum_j share_j theta_j."""
    scorers = [RankingScorer.load(folder) for folder in shares]
    states = [scorer.state_dict() for scorer in scorers]
    scorers[0].load_state_dict(
        {
            name: sum((share * state[name] for share, state in zip(shares.values(), states, strict=True)), start=0.0)
            for name in states[0]
        }
    )
    return scorers[0].to(device).eval()


def _write(folder: Path, card: Card, module: nn.Module) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    card.write(folder)


def _read_weights(folder: Path, module: nn.Module, standardiser: Standardiser) -> None:
    tensors = module.state_dict()
    # Features that were the same in all documents have an infinite deviation.
    fill(tensors, folder / WEIGHTS, infinite=[name for name in tensors if name.endswith("standardiser.deviation")])
    if not (standardiser.deviation > 0).all():
        raise InputError(f"{folder / WEIGHTS} has deviations of features that are not above 0; train the ranker again")

"""Batches of contexts with their comparisons, and the order in which training meets them.

Everything random is a function of (seed, epoch) or (seed, step). A resumed run therefore needs no saved sampler state,
and any number of workers sees the same global batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cosdpo.arrays import Floats, Integers
from cosdpo.config import Comparisons, Config, DataConfig
from cosdpo.data.comparisons import comparison_counts, label_matrix, target_distribution
from cosdpo.errors import InputError
from cosdpo.losses import listwise_dpo, pairwise_dpo, plackett_luce, preferences_across

BATCHES_SORTED_TOGETHER = 32
"""Length bucketing sorts this many shuffled batches by length: long enough for little padding in attention, short
enough for batches to differ between epochs."""

CONTEXTS_THAT_CHOOSE = 64
"""Training contexts that choose the best state, where nothing else is said."""


@dataclass(frozen=True)
class Batch:
    """B contexts with n candidates (padded) and m objectives."""

    contexts: Any
    """What the scorer reads: a list with one item per context, or all of them packed."""
    reference: Tensor
    """[B, n] reference scores."""
    mask: Tensor
    """[B, n] bool, true where a candidate exists."""
    form: Comparisons
    """What the losses compare (data.comparisons)."""
    scores: Tensor
    """[B, m, n] labels, NaN where a candidate does not exist or is unlabelled."""
    items: int
    """Tokens or documents in the batch."""
    targets: Tensor | None = None
    """[B, m, n] target distributions of listwise losses; zero where the context carries no preference for objective
    j."""
    margins: Tensor | None = None
    """[B, n] what MO-DPO subtracts from the rewards (losses.modpo_margins)."""

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on `device`."""
        moved: dict[str, Any] = {
            k: v.to(device, non_blocking=True) if hasattr(v, "to") else v for k, v in vars(self).items()
        }
        return Batch(**moved)

    def losses(self, rewards: Tensor, beta: Tensor) -> Tensor:
        """L_j of each context, [B, m], from rewards [B, n] and temperatures [B, m]."""
        if self.form == "pairwise":
            return pairwise_dpo(rewards, preferences_across(self.scores, 1), beta)
        if self.form == "rankings":
            return plackett_luce(rewards, self.scores, beta)
        assert self.targets is not None
        return listwise_dpo(rewards, self.targets.to(rewards.dtype), beta, self.mask)


class PreferenceData:
    """Contexts, their comparisons and their reference scores, ready to be batched."""

    unit = "tokens"

    def __init__(
        self,
        contexts: Sequence[Any],
        scores: Sequence[list[list[float] | None]],
        reference: Sequence[Floats] | None,
        data: DataConfig,
    ) -> None:
        """Reads the labels out of the scores.

        Args:
            contexts: N inputs of the scorer, with a `tokens` attribute by which they are bucketed.
            scores: per context and objective the candidates' scores, or None.
            reference: per context the candidates' reference scores, [n]; None sets zeros until they are known.
        """
        self.contexts = list(contexts)
        self.form = data.comparisons
        self.scores = [label_matrix(s) for s in scores]
        self.targets: list[Floats] | None = None
        if self.form == "listwise":
            self.targets = [target_distribution(s, data.targets) for s in scores]
        self.reference = list(reference or (np.zeros(labels.shape[1]) for labels in self.scores))
        self.margins: list[Floats] | None = None
        self.lengths = np.array([c.tokens for c in self.contexts])

    def __len__(self) -> int:
        return len(self.contexts)

    def set_margins(self, margins: Sequence[Floats] | None) -> None:
        """Sets what MO-DPO subtracts from the rewards, [n] per context; None takes it away."""
        self.margins = None if margins is None else list(margins)

    def comparisons(self, objectives: Sequence[str]) -> Floats:
        """Number of comparisons per objective, [m]: pairs, lists, or the choices that rankings are made of.

        Raises:
            InputError: an objective without a single comparison cannot be trained or judged.
        """
        counts: Floats = self.counts_of_each().sum(0)
        for name, count in zip(objectives, counts, strict=True):
            if count == 0:
                raise InputError(f"objective {name} has no comparison in the data: all its labels are missing or tied")
        return counts

    def counts_of_each(self) -> Floats:
        """`comparisons` of every context, which may have none, [N, m]."""
        return np.array([comparison_counts(labels, self.form) for labels in self.scores])

    def fingerprint(self) -> str:
        """sha256 over the token ids of all contexts and candidates, and their scores."""
        digest = hashlib.sha256()
        for context, labels in zip(self.contexts, self.scores, strict=True):
            context.add_to(digest)
            digest.update(labels.tobytes())
        return digest.hexdigest()

    def all_scores(self) -> Floats:
        """[m, N] labels of all candidates of all contexts, NaN where there is none."""
        return np.concatenate(self.scores, axis=1)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The contexts at `indices`, padded to the longest list of candidates."""
        contexts = [self.contexts[i] for i in indices]

        def padded(rows: Sequence[Floats], value: float = 0.0) -> Tensor:
            """Rows [..., n_i] as [B, ..., n]."""
            chosen = [torch.from_numpy(rows[i]) for i in indices]
            n = max(row.shape[-1] for row in chosen)
            return torch.stack([F.pad(row, (0, n - row.shape[-1]), value=value) for row in chosen])

        return Batch(
            contexts=contexts,
            reference=padded(self.reference).float(),
            mask=padded([np.ones(len(row), np.bool_) for row in self.reference]),
            form=self.form,
            scores=padded(self.scores, torch.nan),
            items=sum(context.tokens for context in contexts),
            targets=None if self.targets is None else padded(self.targets).float(),
            margins=None if self.margins is None else padded(self.margins).float(),
        )

    def in_order_of_length(self, batch_tokens: int) -> Iterator[list[int]]:
        """All indices in batches of at most `batch_tokens` tokens, shortest contexts first."""
        return length_batches(self.lengths, batch_tokens)


def of_epochs(config: Config, contexts: int) -> Config:
    """`config` with the training.steps that its epochs come to with so many training contexts, at least 1."""
    if not config.training.epochs:
        return config
    contexts -= set_apart(config, contexts)
    steps = max(1, round(config.training.epochs * (contexts // config.training.batch_size)))
    return config.changed({"training.steps": steps, "training.epochs": 0})


def set_apart(config: Config, contexts: int) -> int:
    """How many of so many training contexts only choose the best state; none where the last one is kept."""
    if config.training.keep == "last":
        return 0
    given = "curve_contexts" in config.evaluation.model_fields_set
    wanted = config.evaluation.curve_contexts if given else CONTEXTS_THAT_CHOOSE
    return max(1, min(wanted, contexts // 4))


def length_batches(lengths: Sequence[int] | Integers, batch_tokens: int) -> Iterator[list[int]]:
    """Batches of indices, shortest first, each of at most `batch_tokens` (or one item)."""
    batch: list[int] = []
    tokens = 0
    for index in np.argsort(np.asarray(lengths), kind="stable").tolist():
        if batch and tokens + lengths[index] > batch_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += int(lengths[index])
    if batch:
        yield batch


class BatchOrder:
    """Which contexts form the global batch of each step."""

    def __init__(self, lengths: Integers, batch_size: int, seed: int) -> None:
        """Every epoch visits each context once, but for the remainder that does not fill a batch."""
        if batch_size > len(lengths):
            raise InputError(
                f"training.batch_size {batch_size} is larger than the {len(lengths)} training contexts; lower it"
            )
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.batches_per_epoch = len(lengths) // batch_size
        self._epoch = lru_cache(maxsize=2)(self._arrange)

    def _arrange(self, epoch: int) -> Integers:
        """[batches, batch_size] contexts of similar length together, batches in random order."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.lengths))[: self.batches_per_epoch * self.batch_size]
        span = BATCHES_SORTED_TOGETHER * self.batch_size
        for start in range(0, len(order), span):
            part = order[start : start + span]
            order[start : start + span] = part[np.argsort(self.lengths[part], kind="stable")]
        batches = order.reshape(self.batches_per_epoch, self.batch_size)
        shuffled: Integers = batches[rng.permutation(len(batches))]
        return shuffled

    def __call__(self, step: int) -> list[int]:
        """Indices of the global batch of `step`, counted from 0."""
        epoch, position = divmod(step, self.batches_per_epoch)
        indices: list[int] = self._epoch(epoch)[position].tolist()
        return indices

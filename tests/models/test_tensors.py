"""Tensor files that lack something, have too much or the wrong thing are refused, each in one line that names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cosdpo.errors import InputError
from cosdpo.models.averaging import average
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.models.tensors import fill, read_tensors
from tests import tiny_rankers

Tensors = dict[str, Tensor]


def test_values_are_taken_over_in_place(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16), "b": torch.tensor([torch.inf])}, file)
    own = {"a": torch.zeros(1, 2, requires_grad=True), "b": torch.zeros(1)}
    fill(own, file, infinite=["b"])
    assert own["a"].tolist() == [[1.5, -2.0]]
    assert own["a"].dtype == torch.float32
    assert own["b"].tolist() == [torch.inf]
    save_file({"a": torch.zeros(1, 2), "b": torch.tensor([torch.nan])}, file)
    with pytest.raises(InputError, match="b has values that are not finite"):
        read_tensors(file, own, infinite=["b"])


def without(*parts: str) -> Callable[[Tensors], Tensors]:
    return lambda whole: {n: t for n, t in whole.items() if not any(part in n for part in parts)}


def first(change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    """Changes the first tensor that has more than one dimension."""

    def changed(whole: Tensors) -> Tensors:
        name = min(n for n, t in whole.items() if t.ndim > 1)
        return whole | {name: change(whole[name]).contiguous()}

    return changed


BROKEN: list[tuple[Callable[[Tensors], Tensors], str]] = [
    (lambda whole: dict([min(whole.items())]), r"lacks \S+ and \d+ more;"),
    (lambda whole: whole | {"more": torch.zeros(1)}, "has an unknown more;"),
    (first(lambda t: t[:-1]), r"has the shape \[\d+.*\] instead of \[\d+"),
    (first(lambda t: t[None]), r"has the shape \[1, \d+.*\] instead of \[\d+"),
    (first(lambda t: t.flatten().index_fill(0, torch.tensor(3), torch.nan).view_as(t)), "not finite"),
    (first(lambda t: t.flatten().index_fill(0, torch.tensor(3), -torch.inf).view_as(t)), "not finite"),
    (first(lambda t: t.long()), "of torch.int64, no real numbers"),
]


def refused(file: Path, change: Callable[[Tensors], Tensors], message: str, load: Callable[[Path], object]) -> None:
    whole = load_file(file)
    save_file(change(whole), file)
    with pytest.raises(InputError, match=f"{re.escape(str(file))}.*{message}") as error:
        load(file.parent)
    assert "\n" not in str(error.value)
    save_file(whole, file)


@pytest.mark.parametrize("name", ["adapters.safetensors", "conditioning.safetensors"])
def test_language_models(name, make_scorer, tmp_path):
    made = make_scorer("gpt2-tied", model__adapt_ends=True)
    made.save(tmp_path)
    missing = {"adapters.safetensors": "lora_B", "conditioning.safetensors": "gates.offset"}[name]
    for load in (LanguageScorer.load, LanguageScorer.check):
        load(tmp_path)
        for change, message in [*BROKEN, (without(missing), f"lacks .*{missing}")]:
            refused(tmp_path / name, change, message, load)
    (tmp_path / name).write_bytes(b"none")
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        LanguageScorer.load(tmp_path)


def test_averaged_language_models(make_scorer, tmp_path):
    for run in ("one", "two"):
        make_scorer("gpt2-tied", conditioning="none").save(tmp_path / run)
    for change, message in [*BROKEN, (without("lora_B"), "lacks .*lora_B")]:
        refused(
            tmp_path / "two" / "adapters.safetensors",
            change,
            message,
            lambda folder: average({tmp_path / "one": 0.5, folder: 0.5}, torch.float32, torch.device("cpu")),
        )


def test_rankers(tmp_path):
    tiny_rankers.scorer(tiny_rankers.settings()).save(tmp_path)
    file = tmp_path / "model.safetensors"
    for change, message in [*BROKEN, (without("network.head"), "lacks .*network.head")]:
        refused(file, change, message, RankingScorer.load)
    whole = load_file(file)
    deviation = "base.standardiser.deviation"
    for value, message in ((0.0, "not above 0"), (-1.0, "not above 0"), (torch.nan, "not finite")):
        refused(
            file,
            lambda whole, x=value: whole | {deviation: torch.full_like(whole[deviation], x)},
            message,
            RankingScorer.load,
        )
    save_file(whole | {deviation: torch.full_like(whole[deviation], torch.inf)}, file)  # constant features
    assert RankingScorer.load(tmp_path).base.standardiser.deviation.isinf().all()


def test_a_base_of_another_size(make_scorer, model_folder, tmp_path):
    make_scorer("gpt2-tied", model__lora_targets=["c_attn"]).save(tmp_path)
    for load in (LanguageScorer.load, LanguageScorer.check):
        with pytest.raises(InputError, match=r"does not fit its base: .*c_attn") as error:
            load(tmp_path, base=str(model_folder("llama-tied")))
        assert "\n" not in str(error.value)

"""What is read of a checkpoint, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from cosdpo.errors import InputError
from serve import checkpoint
from serve.engine.engine_settings import EngineSettings
from serve.http.trade_off import TradeOff
from serve.language_service import LanguageService
from serve.ranking_service import RankingService
from serve.service_settings import ServiceSettings
from tests.serve.fake_engine import FakeEngine


def copied(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder / "checkpoint", tmp_path / "my run" / "checkpoint"))


def test_the_id_names_the_content(run_folder: Path, tmp_path: Path) -> None:
    folder = copied(run_folder, tmp_path)
    first = checkpoint.identity(folder)
    assert first.rpartition("-")[2] == checkpoint.identity(run_folder / "checkpoint").rpartition("-")[2]
    assert first.startswith("my-run-")
    assert checkpoint.identity(folder, "a/b c").startswith("a-b-c-")
    weights = folder / "conditioning.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert checkpoint.identity(folder) != first


def test_only_safetensors(run_folder: Path, tmp_path: Path) -> None:
    folder = copied(run_folder, tmp_path)
    assert checkpoint.task_of(folder) == "language"
    with pytest.raises(InputError, match=r"give .*checkpoint$"):
        checkpoint.task_of(folder.parent)
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(print))
    with pytest.raises(InputError, match="pickle"):
        checkpoint.task_of(folder)
    (folder / "adapters.safetensors").unlink()
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(InputError, match=r"lacks adapters.safetensors"):
        checkpoint.task_of(folder)
    for task in ('"base ranking"', "[]", "{}", "1"):
        (folder / "cosdpo.json").write_text(f'{{"task": {task}}}')
        with pytest.raises(InputError, match="model; give one with trade-offs"):
            checkpoint.task_of(folder)


def test_broken_ones_are_refused_before_anything_starts(
    run_folder: Path, ranker: RankingService, tmp_path: Path
) -> None:
    for folder, task, file in (
        (run_folder / "checkpoint", "language", "adapters.safetensors"),
        (ranker.folder, "ranking", "model.safetensors"),
    ):
        assert checkpoint.check(folder) == task
        broken = Path(shutil.copytree(folder, tmp_path / task))
        tensors = load_file(broken / file)
        save_file(dict([min(tensors.items())]), broken / file)
        with pytest.raises(InputError, match=f"{file} lacks "):
            checkpoint.check(broken)
        save_file(tensors, broken / file)
        card = json.loads((broken / "cosdpo.json").read_text())
        (broken / "cosdpo.json").write_text(json.dumps(card | {"trained_temperature": [0.5]}))
        with pytest.raises(InputError, match="temperature has 1 numbers for 2 objectives"):
            checkpoint.check(broken)


def test_an_example_prompt_has_no_template(run_folder: Path) -> None:
    assert checkpoint.example_prompt(run_folder / "checkpoint", "q: {prompt}\n") == "a cat"
    assert checkpoint.example_prompt(run_folder, "{prompt}") is None


@pytest.mark.anyio
async def test_no_more_is_promised_than_the_cache_holds(run_folder: Path) -> None:
    """The tiny model's positions hold 48 tokens besides the soft ones; a cache of 40 holds fewer. Scores need none."""
    folder = run_folder / "checkpoint"
    lengths = []
    for tokens in (4096, 40):
        engine = EngineSettings.model_construct(kv_tokens=tokens)
        settings = ServiceSettings(checkpoint=folder).model_copy(update={"engine": engine})
        service = LanguageService(folder, settings, start=lambda _, tokenizer: FakeEngine(tokenizer))
        lengths.append((service.description.max_model_len, service.card.soft_tokens))
    (whole, soft), (bounded, _) = lengths
    assert (whole, bounded) == (48, 40 - soft)
    scored = await service.score(TradeOff(), "a" * 40, ["b"])
    assert len(scored.scores) == 1

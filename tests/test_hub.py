"""A run on the hub: what is pushed, what its card says, that it loads from there, and what is refused in a line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, constants

import cosdpo
from cosdpo import hub
from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, Main
from cosdpo.training import run_folder
from tests import tiny_rankers
from tests.drawn_fronts import made_front
from tests.hub_server import TOKEN, HubServer, running_hub
from tests.refusals import Jobs, ranking_options
from tests.tiny_models import scorer, settings, write_model

ROOT = Path(__file__).parents[1]
NAME = "alice/front"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run of a language model, whose base is a folder with a licence."""
    base = write_model(tmp_path / "home" / "base", "gpt2-tied")
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    folder = tmp_path / "run"
    config = settings(base, output=folder, data__train=f"kind={tmp_path}/a.jsonl,short=owner/pairs/part:train")
    run_folder.create(config)
    made = scorer(config).eval()
    made.save(folder / "checkpoint")
    front = made_front(2)
    named = {"objectives": ["kind", "short"], "main": Main(name="KL", metric="nats", base=0, values=[0.5] * 5)}
    front.model_copy(update=named).save(folder / "front.json")
    (folder / "front.png").write_bytes(b"\x89PNG")
    (folder / "checkpoint" / "training_state.safetensors").write_bytes(b"of no use to others")
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub that this process talks to, logged in."""
    with running_hub() as hub_server:
        address = hub_server.address
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_URL_HOSTS", {"127.0.0.1"}, raising=False)  # of versions that know it
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub_server


def dry(run: Path, **changes: Any) -> Path:
    return Path(hub.push(hub.PushSettings(folder=run, name=NAME, dry_run=run.parent / "out", **changes)))


@pytest.mark.parametrize("place", ["", "checkpoint"])
def test_what_is_pushed(run: Path, place: str) -> None:
    out = dry(run / place)
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "cosdpo.json", "adapters.json", "adapters.safetensors", "conditioning.safetensors"),
        *("front.json", "front.png"),
    }
    assert Front.load(out / "front.json") == Front.load(run / "front.json")
    assert (out / "front.png").read_bytes() == b"\x89PNG"
    for name in ("README.md", "cosdpo.json", "adapters.json"):  # no path of this machine
        assert str(run.parent) not in (out / name).read_text()
    card = ModelCard.load(out / "README.md")
    assert card.data.base_model is None
    assert card.data.license == "mit"
    assert card.data.datasets == ["owner/pairs"]
    assert card.data.pipeline_tag == "text-generation"
    ends = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert ends == {"metric of kind where it weighs 1": 2.0, "metric of short where it weighs 1": 2.0}
    assert {result.dataset_name for result in card.data.eval_results} == {"a.jsonl, owner/pairs/part:train"}


def test_a_card_has_a_row_of_values_for_every_weighting(run: Path) -> None:
    text = ModelCard.load(dry(run) / "README.md").text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    points = [row for row in rows if len(row) == 5 and row[0][0].isdigit()]
    # made_front: 1 + weight, and the main objective is 0.5 everywhere
    assert points == [
        [f"{w:.3g}", f"{1 - w:.3g}", f"{1 + w:.4g}", f"{2 - w:.4g}", "0.5"] for w in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert ["base", "base", "1.5", "1.5", "0"] in rows
    assert ["weight of kind", "weight of short", "kind", "short", "KL (nats)"] in rows
    assert "![The front](front.png)" in text
    assert "https://arxiv.org/abs/2410.08316" in text


def test_an_objective_with_a_bar_in_its_name_stays_one_cell(run: Path) -> None:
    for file in (run / "checkpoint" / "cosdpo.json", run / "front.json"):
        file.write_text(file.read_text().replace('"kind"', '"kind|er"'))
    text = ModelCard.load(dry(run) / "README.md").text
    assert r"| weight of kind\|er | weight of short | kind\|er | short | KL (nats) |" in text
    assert r"| objectives | kind\|er, short |" in text
    assert "kind|er=0.7" in text, "in a command it is as it is"


def test_the_code_of_a_card_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python, with the folder in place of the name on the hub."""
    out = dry(run)
    (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    values: dict[str, Any] = {"FOLDER": str(run.parent / "home" / "base")}
    exec(code.replace(NAME, str(out)).replace("A prompt", "abc"), values)
    assert values["point"].weights.tolist() == [0.7, 0.3]
    assert values["front"].points == Front.load(run / "front.json").points


def test_the_base_on_the_hub_and_a_licence_are_given(run: Path) -> None:
    out = dry(run, base="someone/base", license="apache-2.0")
    card = ModelCard.load(out / "README.md")
    assert (card.data.base_model, card.data.license) == ("someone/base", "apache-2.0")
    assert json.loads((out / "cosdpo.json").read_text())["base"] == "someone/base"
    assert json.loads((out / "adapters.json").read_text())["base_model_name_or_path"] == "someone/base"
    assert 'cosdpo.load("alice/front")' in card.text


def test_a_ranker_is_pushed_too(tmp_path: Path) -> None:
    made = tiny_rankers.scorer(tiny_rankers.settings())
    made.save(tmp_path / "checkpoint")
    out = dry(tmp_path)
    assert {path.name for path in out.iterdir()} == {"README.md", "cosdpo.json", "model.safetensors"}
    card = ModelCard.load(out / "README.md")
    assert card.data.pipeline_tag == "text-ranking"
    assert "point.rank(features)  # [documents, 10]" in card.text
    assert cosdpo.load(out).objectives == ["a", "b"]


def test_earlier_checkpoints_get_names_that_plain_peft_does_not_find(run: Path) -> None:
    for name, before in (
        ("adapters.json", "adapter_config.json"),
        ("adapters.safetensors", "adapter_model.safetensors"),
    ):
        (run / "checkpoint" / name).rename(run / "checkpoint" / before)
    out = dry(run)
    assert (out / "adapters.safetensors").exists()
    assert not list(out.glob("adapter_*"))


@pytest.mark.parametrize("private", [False, True])
def test_a_pushed_run_is_loaded_from_the_hub(run: Path, server: HubServer, private: bool) -> None:
    server.models["someone/base"] = {}
    server.cards["someone/base"] = {"license": "other", "license_name": "own", "license_link": "https://x.org"}
    config = hub.PushSettings(folder=run, name=NAME, private=private, base="someone/base")
    assert hub.push(config) == f"{server.address}/{NAME}"
    assert server.private[NAME] == private
    assert hub.push(config) == f"{server.address}/{NAME}"  # again, to what is there now
    data = ModelCard(server.models[NAME]["README.md"].decode()).data
    assert (data.license, data.license_name, data.license_link) == ("other", "own", "https://x.org")
    assert server.large  # tensors came by Git LFS
    base = str(run.parent / "home" / "base")
    loaded, ours = cosdpo.load(NAME, base=base), cosdpo.load(run)
    assert loaded.points == ours.points
    assert TOKEN.encode() not in b"".join(server.models[NAME].values())
    torch.testing.assert_close(
        loaded.at(kind=1).score("abc", ["yes", "no"]), ours.at(kind=1).score("abc", ["yes", "no"]), atol=0, rtol=0
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda run, server, env: env.delenv("HF_TOKEN"), "needs a token of the hub: log in by `hf auth login`"),
        (lambda run, server, env: env.setenv("HF_TOKEN", "hf_wrong"), "the hub does not know the token"),
        (
            lambda run, server, env: setattr(server, "owner", "bob"),
            "the token may not write to alice; give one that may",
        ),
        (lambda run, server, env: server.server_close(), "failed: the hub did not take it ("),
        (lambda run, server, env: env.setattr(constants, "HF_HUB_OFFLINE", True), "HF_HUB_OFFLINE keeps off"),
        (lambda run, server, env: (run / "checkpoint" / "cosdpo.json").unlink(), "holds no checkpoint"),
        (lambda run, server, env: (run / "checkpoint" / "adapters.safetensors").unlink(), "lacks adapters.safetensors"),
        (lambda run, server, env: server.models.update({NAME: {}}), "it is there and public; make it private first"),
    ],
)
def test_what_cannot_be_pushed_is_said_in_a_line(
    make: Callable[..., Any],
    says: str,
    run: Path,
    server: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    make(run, server, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        hub.main(["push", str(run), NAME, "--private"])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert says in line
    assert "hf_" not in line
    assert not server.models.get(NAME)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "unknown command ''; python -m cosdpo.hub push DIR OWNER/NAME"),
        (["pull", "run", NAME], "unknown command 'pull'"),
        (["push", "run"], "name is not set"),
        (["push", "run", "front"], "--name: 'front' is no name on the hub; give OWNER/NAME"),
        (["push", "run", "a/b/c"], "'a/b/c' is no name on the hub"),
        (["push", "run", "alice/my--front"], "'alice/my--front' is no name on the hub"),
        (["push", "nowhere", NAME, "--dry-run", "out"], "nowhere/checkpoint holds no checkpoint"),
        (["push", "run", NAME, "--dry-run", "run"], "dry_run run exists; name another folder"),
        (["push", "run", NAME, "--dry-run", "/proc/no/out"], "dry_run /proc/no/out cannot be written"),
        (["push", "run", NAME, "--dry-run", "out", "--base", "/a/b"], "base /a/b is no name of a model on the hub"),
        (["push", "run", NAME, "--dry-run", "out", "--privat"], "--privat: unknown key; did you mean --private?"),
    ],
)
def test_a_wrong_command(
    words: list[str], says: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    with pytest.raises(SystemExit):
        hub.main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (run.parent / "out").exists()


def test_a_run_is_pushed_when_it_has_ended(run: Path, server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(output=run).changed({"hub.push": NAME, "hub.private": True})
    hub.push_run(config)
    assert capsys.readouterr().out == f"pushed to {server.address}/{NAME}\n"
    assert server.private[NAME]


def test_a_push_that_fails_costs_a_run_nothing(run: Path, server: HubServer, caplog: pytest.LogCaptureFixture) -> None:
    server.owner = "bob"
    hub.push_run(Config(output=run).changed({"hub.push": NAME, "hub.private": True}))
    (line,) = caplog.messages
    assert "may not write to alice" in line
    assert line.endswith(f"push it again by: python -m cosdpo.hub push {run} alice/front --private")
    hub.push_run(Config(output=run))  # nothing is to be pushed
    assert len(caplog.messages) == 1


def test_what_is_not_on_the_hub_is_not_loaded(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="the hub has no model 'alice/nothing', or it is private"):
        cosdpo.load("alice/nothing")
    server.models["alice/other"] = {"config.json": b"{}"}
    with pytest.raises(InputError, match=r"holds no checkpoint \(no readable cosdpo\.json\)"):
        cosdpo.load("alice/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="cannot download the model 'alice/nothing' from the hub"):
        cosdpo.load("alice/nothing")


@pytest.mark.slow
def test_commands_by_themselves(run: Path, tmp_path: Path) -> None:
    """As a person types them, with nothing but the environment."""
    with running_hub() as server:
        environment = os.environ | {"HF_ENDPOINT": server.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT)}

        def python(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert TOKEN not in done.stdout + done.stderr
            return done.stdout

        assert python("-m", "cosdpo.hub", "push", "run", NAME, "--private").endswith(f"{server.address}/{NAME}\n")
        base = str(tmp_path / "home" / "base")
        code = f"import cosdpo; print(len(cosdpo.load({NAME!r}, base={base!r}).points))"
        assert python("-c", code).endswith("5\n")


def test_a_run_with_folds_is_not_pushed(jobs: Jobs, server: HubServer, tmp_path: Path) -> None:
    says = jobs.refusal(ranking_options(tmp_path), f"--hub.push {NAME} --data.folds 3")
    assert "hub.push is for a run with one checkpoint: name a fold by data.fold" in says
    jobs.takes(ranking_options(tmp_path), f"--hub.push {NAME} --data.folds 3 --data.fold 2")

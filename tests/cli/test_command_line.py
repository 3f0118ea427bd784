"""The command line of a job: what it accepts, which source wins, and one line for every mistake."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import model_validator

from cosdpo.cli import read
from cosdpo.cli.command_line import main, read_config, to_yaml
from cosdpo.config import Config
from cosdpo.config.named_keys import keys_of
from cosdpo.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes c.yaml into the working directory, so that messages name it by this short name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> list[str]:
        Path("c.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return ["--config", "c.yaml"]

    return write


def message(argv: list[str]) -> str:
    with pytest.raises(InputError) as error:
        read_config(argv)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_arguments_every_key_has_its_default():
    assert read_config([]) == Config()


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (["--seed", "3"], "seed", 3),
        (["--seed=3"], "seed", 3),
        (["--training.clip", "1e-3"], "training.clip", 1e-3),
        (["--seed", "3", "--seed", "4"], "seed", 4),
        (["--output", "a/b"], "output", Path("a/b")),
        (["--training.learning_rate", "1e-5"], "training.learning_rate", 1e-5),
        (["--resume"], "resume", True),
        (["--resume", "true"], "resume", True),
        (["--resume=false"], "resume", False),
        (["--resume", "--seed", "1"], "resume", True),
        (["--objectives", "a", "b"], "objectives", ["a", "b"]),
        (["--objectives", "a,b"], "objectives", ["a", "b"]),
        (["--objectives", "a,", "b"], "objectives", ["a", "b"]),
        (["--objectives=a,b"], "objectives", ["a", "b"]),
        (["--objectives", '["a", "b"]'], "objectives", ["a", "b"]),
        (["--objectives", "[a, b]"], "objectives", ["a", "b"]),
        (["--model.lora_targets"], "model.lora_targets", []),
        (["--temperature", "0.25"], "temperature", 0.25),
        (["--temperature", "0.25,0.5"], "temperature", [0.25, 0.5]),
        (["--temperature", "0.25", "0.5"], "temperature", [0.25, 0.5]),
        (["--temperature", "[0.25]"], "temperature", [0.25]),
        (["--evaluation.scorers.a", "brevity"], "evaluation.scorers", {"a": "brevity"}),
        (["--evaluation.scorers.a=m:f", "--evaluation.scorers.b=x"], "evaluation.scorers", {"a": "m:f", "b": "x"}),
        (["--evaluation.scorers", "{a: brevity}"], "evaluation.scorers", {"a": "brevity"}),
        (["--data.response_template", "- {response}"], "data.response_template", "- {response}"),
        (["--data.response_template=--{response}"], "data.response_template", "--{response}"),
        (["--data.train", "helpful=a.json,harmless=b.json"], "data.train", "helpful=a.json,harmless=b.json"),
    ],
)
def test_values_on_the_command_line(argv, key, value):
    found: object = read_config(argv)
    for field in key.split("."):
        found = getattr(found, field)
    assert found == value
    assert type(found) is type(value)


def test_the_command_line_wins_over_the_file_and_the_file_over_the_job(write):
    file = write("seed: 2\ntraining:\n  steps: 20\ngrid.partitions: 4\nmodel:\n")
    defaults = {"seed": 1, "training": {"steps": 10, "batch_size": 16}, "data.max_rows": 5}

    job = read_config([], defaults=defaults)
    assert (job.seed, job.training.steps, job.training.batch_size, job.data.max_rows) == (1, 10, 16, 5)

    config = read_config([*file, "--training.steps", "30"], defaults=defaults)
    assert (config.seed, config.training.steps, config.training.batch_size) == (2, 30, 16)
    assert (config.grid.partitions, config.model.base) == (4, Config().model.base)


def test_an_entry_joins_a_map_and_a_whole_map_replaces_it(write):
    file = write("evaluation:\n  scorers: {a: brevity, b: dialogue}\n")
    defaults = {"evaluation.scorers": {"z": "positivity"}}
    assert read_config(file, defaults=defaults).evaluation.scorers == {"a": "brevity", "b": "dialogue"}
    joined = read_config([*file, "--evaluation.scorers.b", "positivity"])
    assert joined.evaluation.scorers == {"a": "brevity", "b": "positivity"}
    assert read_config([*file, "--evaluation.scorers", "{}"]).evaluation.scorers == {}
    joined = read_config(["--evaluation.scorers.a", "brevity"], defaults=defaults)
    assert joined.evaluation.scorers == {"z": "positivity", "a": "brevity"}


def test_yaml_numbers_without_a_dot_are_numbers(write):
    # YAML 1.1 reads 2e-3 as text; a configuration means the number.
    assert read_config(write("training: {learning_rate: 2e-3}")).training.learning_rate == 0.002


def test_a_job_default_that_does_not_exist_is_the_authors_mistake():
    with pytest.raises(KeyError, match=r"training\.step"):
        read_config([], defaults={"training": {"step": 1}})


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--scaling.worker", "2"], "--scaling.worker: unknown key; did you mean --scaling.workers?"),
        (["--steps", "2"], "--steps: unknown key; did you mean --training.steps?"),
        (["--model.lora-rank=2"], "--model.lora-rank: unknown key; did you mean --model.lora_rank?"),
        (["-seed", "2"], "-seed: unknown key; did you mean --seed?"),
        (["--qqqq"], "--qqqq: unknown key; --help lists all keys"),
        (["--model", "x"], "--model: this is a group of keys; give one of them, such as --model.base"),
        (["--training.steps", "x"], "--training.steps: expected integer >= 0, got 'x'"),
        (["--training.steps", "-1"], "--training.steps: expected integer >= 0, got '-1'"),
        (["--training.steps", "1.5"], "--training.steps: expected integer >= 0, got '1.5'"),
        (["--training.clip", "nan"], "--training.clip: expected number > 0, got 'nan'"),
        (["--training.warmup", "1"], "--training.warmup: expected number >= 0 and < 1, got '1'"),
        (["--resume", "maybe"], "--resume: expected true or false, got 'maybe'"),
        (["--scope", "respons"], "--scope: expected sequence or response, got 'respons'"),
        (["--temperature", "0"], "--temperature: expected number > 0 or list of number > 0, got '0'"),
        (["--evaluation.scorers", "x"], "--evaluation.scorers: expected map of names to text, got 'x'"),
        (["--evaluation.scorers", "{a"], "--evaluation.scorers: '{a' is not closed or not separated by commas"),
        (["--objectives", "[a, 1]"], "--objectives: expected list of text, got 1; put it in quotes"),
        (["--seed"], "--seed: expected one argument; see --help"),
        (["--seed", "1", "2"], "unexpected '2'; values are given as --section.key VALUE, see --help"),
        (["train"], "unexpected 'train'; values are given as --section.key VALUE, see --help"),
        (
            ["--config", "nowhere.yaml"],
            "--config nowhere.yaml: no such file or directory; give the path of a YAML file, such as one of "
            "jobs/configs",
        ),
    ],
)
def test_mistakes_on_the_command_line(argv, expected):
    assert message(argv) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\ntraining:\n  stepz: 3\n", "c.yaml:3: training.stepz: unknown key; did you mean training.steps?"),
        ("steps: 3\n", "c.yaml:1: steps: unknown key; did you mean training.steps?"),
        ("\ntraining:\n  steps: many\n", "c.yaml:3: training.steps: expected integer >= 0, got 'many'"),
        ("training: {steps: -1}\n", "c.yaml:1: training.steps: expected integer >= 0, got -1"),
        ("training: {steps: yes}\n", "c.yaml:1: training.steps: expected integer >= 0, got true"),
        ("tracking: {wandb: 2024}\n", "c.yaml:1: tracking.wandb: expected text, got 2024; put it in quotes"),
        ("tracking:\n  wandb:\n", "c.yaml:2: tracking.wandb: expected text, got nothing"),
        ("seed: 1\nseed: 2\n", "c.yaml:2: seed is given twice; delete one of the two"),
        ("training: 3\n", "c.yaml:1: training is a group of keys; write `KEY: VALUE` lines"),
        ("- seed\n", "c.yaml:1: a configuration is made of keys; write `KEY: VALUE` lines"),
        (
            "seed: 1\noutput: a: b\n",
            "c.yaml:2: broken YAML: mapping values are not allowed here; check indentation, colons and quotes",
        ),
        (
            "seed: !!python/name:os.system x\n",
            "c.yaml:1: seed: unreadable value; write it as plain text, a number, a list or a map",
        ),
        (b"\xff\xfe\x00", "--config c.yaml: not a text file; give a YAML file in UTF-8"),
    ],
)
def test_mistakes_in_the_file(write, text, expected):
    assert message(write(text)) == expected


def test_a_validator_of_the_configuration_speaks_for_itself():
    class Strict(Config):
        @model_validator(mode="after")
        def check(self) -> Strict:
            if self.seed == 13:
                raise InputError("seed 13 is unlucky; take another")
            return self

    with pytest.raises(InputError) as error:
        read(Strict, ["--seed", "13"])
    assert str(error.value) == "seed 13 is unlucky; take another"


@settings(max_examples=50)
@example("\x85", {"\u2028": "a\r\nb"}, ["", " ", "yes", "1e3", "\ufeff"])
@given(st.text(), st.dictionaries(st.text(), st.text()), st.lists(st.text(), unique=True))
def test_the_written_yaml_reads_as_the_same_configuration(tmp_path_factory, text, scorers, objectives):
    config = Config(output=Path("runs/x"), temperature=1e-7, objectives=objectives).changed(
        {"tracking.wandb": text, "evaluation.scorers": scorers}
    )
    file = tmp_path_factory.getbasetemp() / "written.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert read_config(["--config", str(file)]) == config


def test_the_written_yaml_has_every_key_in_field_order():
    groups = {group.name.rsplit(".", 1)[-1] for group in keys_of(Config).groups}
    lines = [line.split(":")[0].strip() for line in to_yaml(Config()).splitlines()]
    expected: list[str] = []
    for name, key in keys_of(Config).items():
        expected += [name.rsplit(".", 1)[-1], *(key.default if isinstance(key.default, dict) else ())]
    assert expected == [line for line in lines if line not in groups]


def test_main_passes_the_configuration_on():
    seen: list[Config] = []
    main(seen.append, argv=["--seed", "5"])
    assert seen == [Config(seed=5)]


def test_main_turns_wrong_input_into_one_line_and_exit_code_2(capsys):
    def run(config: Config) -> None:
        raise InputError("data.train: no such file\nname another")

    for argv, line in [([], "data.train: no such file name another"), (["--sed", "1"], "--sed: unknown key; did you")]:
        with pytest.raises(SystemExit) as exit_:
            main(run, argv=argv)
        assert exit_.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: {line}")
        assert err.count("\n") == 1


def test_main_names_resume_after_an_interrupt(capsys):
    def run(config: Config) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        main(run, argv=[])
    assert exit_.value.code == 130
    err = capsys.readouterr().err
    assert "--resume" in err
    assert err.count("\n") == 1


def test_main_hides_no_defect():
    def run(config: Config) -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        main(run, argv=[])


def test_help_lists_every_key_with_type_default_and_meaning(capsys):
    with pytest.raises(SystemExit) as exit_:
        read_config(["--help"], "Trains 100% of it.\n\n    python jobs/it.py", {"model.base": "some/base"})
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "Trains 100% of it.\n\n    python jobs/it.py\n" in text
    entries = {entry.split()[0]: " ".join(entry.split()) for entry in text.split("\n  --")[1:]}
    assert list(entries) == ["config", *keys_of(Config)]
    for name, key in keys_of(Config).items():
        assert f" {key.help} ({key.accepts}; default: " in entries[name]
    assert "(text; default: some/base)" in entries["model.base"]
    assert "--evaluation.scorers.NAME VALUE" in entries["evaluation.scorers"]


def test_help_is_fast_because_neither_torch_nor_ray_is_imported():
    code = (
        "import sys, cosdpo.cli as c\nfor m in ('torch', 'ray', 'numpy'): assert m not in sys.modules, m\nc.main(print)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Seconds of processor time, which a busy machine does not stretch.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
    assert "--training.steps INTEGER" in done.stdout

"""Where checkpoints are kept, and which of them a run goes on from where Ray Train knows of none."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.fs
import pytest
import torch
from ray.train import Checkpoint

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.job_checks import check_credentials
from cosdpo.training import run_folder, storage
from cosdpo.training.training_state import Clock, write_state
from tests.tiny_models import settings

LOCAL = pyarrow.fs.LocalFileSystem()


def written(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint_{step:08d}"
    path.mkdir(parents=True)
    write_state(path, {"x": torch.full((1000,), float(step))}, Clock(step, 1.0))
    return path


class TestNewest:
    def test_there_is_none(self, tmp_path):
        assert storage.newest(None, LOCAL, str(tmp_path / "nowhere")) is None

    def test_the_newest_whole_one(self, tmp_path):
        for step in (5, 10, 100):
            written(tmp_path, step)
        state = tmp_path / "checkpoint_00000100" / "training_state.safetensors"
        state.write_bytes(state.read_bytes()[:-1])
        (tmp_path / storage.SNAPSHOT).write_text("{}")
        tensors, clock = storage.newest(None, LOCAL, str(tmp_path))
        assert clock == Clock(10, 1.0)
        assert torch.equal(tensors["x"], torch.full((1000,), 10.0))

    def test_what_ray_registered_comes_first(self, tmp_path):
        written(tmp_path, 10)
        _, clock = storage.newest(Checkpoint(str(written(tmp_path, 5))), LOCAL, str(tmp_path))
        assert clock.step == 5


class TestMend:
    @pytest.mark.parametrize("length", [0, 1, 30])
    def test_a_list_that_was_cut_short_is_taken_away(self, tmp_path, length):
        path = tmp_path / "training" / storage.SNAPSHOT
        path.parent.mkdir()
        path.write_text(json.dumps({"checkpoint_results": list(range(100))})[:length])
        storage.mend(settings("", output=tmp_path), "training")
        assert not path.exists()

    def test_a_whole_one_stays(self, tmp_path):
        path = tmp_path / "training" / storage.SNAPSHOT
        path.parent.mkdir()
        path.write_text('{"checkpoint_results": []}')
        storage.mend(settings("", output=tmp_path, scaling__storage=tmp_path.as_uri()), "training")
        assert path.exists()

    def test_a_new_run_has_none(self, tmp_path):
        storage.mend(settings("", output=tmp_path / "run"), "training")
        storage.forget(settings("", output=tmp_path / "run"), "training")


class TestCheck:
    def test_a_place_of_its_own(self, tmp_path):
        place = tmp_path / "bucket"
        config = settings("", output=tmp_path / "run", scaling__storage=place.as_uri())
        storage.check(config)
        (place / "training").mkdir(parents=True)
        with pytest.raises(InputError, match=r"is not empty: give each run a place of its own, or --resume"):
            storage.check(config)
        storage.check(config.model_copy(update={"resume": True}))

    @pytest.mark.parametrize("address", ["nonsense://bucket/x", "file://else.where/x"])
    def test_an_address_that_nothing_can_read(self, tmp_path, address):
        with pytest.raises(InputError, match=r"scaling\.storage .* cannot be read") as error:
            storage.check(settings("", output=tmp_path, scaling__storage=address))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(("before", "now"), [("", "file:///b"), ("file:///a", ""), ("file:///a", "file:///b")])
    def test_a_resumed_run_finds_its_own_checkpoints(self, tmp_path, before, now):
        run_folder.create(settings("", output=tmp_path, scaling__storage=before))
        with pytest.raises(InputError, match=r"are in .*: resume with --scaling\.storage"):
            storage.check(settings("", output=tmp_path, scaling__storage=now, resume=True))
        storage.check(settings("", output=tmp_path, scaling__storage=before, resume=True))

    def test_credentials_may_change_and_are_not_written(self, tmp_path):
        def at(address: str, **more: object) -> Config:
            return settings("", output=tmp_path / "run", scaling__storage=address, **more)

        run_folder.create(at("s3://KEY:SECRET@bucket/x"))
        file = tmp_path / "run" / "config.yaml"
        text = file.read_text()
        assert "s3://***@bucket/x" in text
        assert "SECRET" not in text
        with pytest.raises(InputError, match=r"resume with --scaling\.storage 's3://\*\*\*@bucket/x'") as error:
            storage.check(at("s3://OTHER:NEW@elsewhere/x", resume=True))
        assert "NEW" not in str(error.value)
        for before in (text, text.replace("***", "KEY:SECRET")):  # as it is written, and as an earlier version did
            file.write_text(before)
            run_folder.check(at("s3://OTHER:NEW@bucket/x", resume=True))
            with pytest.raises(InputError, match="cannot be read") as error:  # past the comparison
                storage.check(at("s3://OTHER:N/EW@bucket/x", resume=True))
            assert "EW" not in str(error.value)

    def test_masked_credentials_are_asked_for(self):
        check_credentials(settings("", scaling__storage="s3://bucket/x"))
        with pytest.raises(InputError, match=r"storage s3://\*\*\*@bucket/x has .* give it again by --scaling"):
            check_credentials(settings("", scaling__storage="s3://***@bucket/x"))

    def test_ray_is_told_no_credentials(self):
        filesystem, path = storage.opened(settings("", scaling__storage="s3://KEY:SECRET@bucket/x?region=us-west-2"))
        assert (filesystem.type_name, path) == ("s3", "bucket/x")

    def test_parts_of_a_run_lie_below_it(self):
        config = settings("", scaling__storage="s3://bucket/runs/")
        assert storage.below(config, "fold-1").scaling.storage == "s3://bucket/runs/fold-1"
        assert storage.below(config, "") == config
        assert storage.below(settings(""), "fold-1").scaling.storage == ""

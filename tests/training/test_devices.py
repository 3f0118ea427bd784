"""Where a worker computes and in which type."""

from __future__ import annotations

import pytest
import torch

from cosdpo.training.devices import base_dtype, training_device, worker_device
from tests.tiny_models import settings


def test_a_worker_without_a_gpu_computes_on_the_cpu():
    assert worker_device(False) == torch.device("cpu")
    assert worker_device(True) == torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("asked", "device", "dtype"),
    [
        ("auto", "cpu", torch.float32),
        ("auto", "cuda", torch.bfloat16),
        ("float32", "cuda", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
    ],
)
def test_the_bases_type(asked, device, dtype):
    assert base_dtype(settings("", model__dtype=asked), torch.device(device)) == dtype


def test_a_base_that_is_loaded_on_the_cpu_to_be_sharded_has_the_type_of_the_gpus():
    config = settings("", scaling__use_gpu=True)
    assert base_dtype(config, torch.device("cpu")) == torch.bfloat16


def test_a_training_worker_has_the_device_that_ray_train_gave_it(monkeypatch):
    import ray.train.torch

    chosen: list[torch.device] = []
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cuda", 3))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert training_device(True) == torch.device("cuda", 3)
    assert chosen == [torch.device("cuda", 3)]  # collectives and FSDP's mesh take the current one
    assert training_device(False) == torch.device("cpu")

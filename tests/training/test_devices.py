"""Where a worker computes and in which type."""

from __future__ import annotations

import pytest
import torch

from cosdpo.training.devices import base_dtype, worker_device
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

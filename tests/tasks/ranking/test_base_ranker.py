"""What the base ranker is trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cosdpo.tasks.ranking.base_ranker import base_data
from tests.tiny_rankers import query_lists, settings


def test_the_base_is_trained_by_listnet_whatever_is_trained_on_it():
    lists = query_lists(3, 2)
    lists.relevance[:] = [0, 1, 3, 2, 2]
    data = base_data(lists, settings(data__comparisons="rankings").data)
    assert data.targets[:, 0].tolist() == [0, 0.125, 0.875, 0, 0]  # 2^l - 1 is 0, 1 and 7
    assert data.comparisons(["relevance"]).tolist() == [1]
    assert data.batch([0]).losses(torch.zeros(1, 3), torch.ones(1, 1)).item() == pytest.approx(np.log(3))

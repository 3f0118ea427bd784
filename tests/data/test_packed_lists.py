"""Packed lists by hand: which place a document has, what padding adds, and that it comes off again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosdpo.data.packed_lists import PackedLists

lengths_of_lists = st.lists(st.integers(1, 5), min_size=1, max_size=6)


def packed(*lengths: int) -> PackedLists:
    """Document i has the features (i, -i) and the reference score 10 i."""
    rows = np.arange(sum(lengths), dtype=np.float32)
    return PackedLists.of(np.stack([rows, -rows], 1), lengths, reference=10 * rows)


def test_places_by_hand():
    lists = packed(2, 1, 3)
    assert lists.owner.tolist() == [0, 0, 1, 2, 2, 2]
    assert lists.position.tolist() == [0, 1, 0, 0, 1, 2]
    assert lists.lengths == (2, 1, 3)
    assert lists.reference is not None
    assert lists.reference.tolist() == [0, 10, 20, 30, 40, 50]
    assert lists.reference.dtype == lists.features.dtype == torch.float32


def test_padding_by_hand():
    lists = packed(2, 1, 3)
    assert lists.pad(torch.tensor([1.0, 2, 3, 4, 5, 6])).tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    padded = lists.pad(lists.features)
    assert padded.shape == (3, 3, 2)
    assert padded[2].tolist() == [[3, -3], [4, -4], [5, -5]]
    assert padded[1].tolist() == [[2, -2], [0, 0], [0, 0]]
    assert lists.pad(torch.ones(6, dtype=torch.bool)).dtype == torch.bool


@given(lengths_of_lists)
def test_padding_comes_off_again(lengths: list[int]):
    lists = packed(*lengths)
    for values in (lists.features, lists.owner, torch.randn(sum(lengths), 2, 3)):
        padded = lists.pad(values)
        assert padded.shape[:2] == (len(lengths), max(lengths))
        assert torch.equal(lists.unpad(padded), values)
        # Whatever stands where there is no document is not read.
        exists = lists.pad(torch.ones(sum(lengths), dtype=torch.bool))
        assert torch.equal(
            lists.unpad(padded.masked_fill(~exists.view(*exists.shape, *[1] * (values.ndim - 1)), 9)), values
        )


@given(lengths_of_lists)
def test_the_mask_is_true_where_a_document_is(lengths: list[int]):
    lists = packed(*lengths)
    mask = lists.mask()
    exists = [[place < length for place in range(max(lengths))] for length in lengths]
    if len(set(lengths)) == 1:
        assert mask is None
    else:
        assert mask is not None
        assert mask.shape == (len(lengths), 1, 1, max(lengths))
        assert mask[:, 0, 0].tolist() == exists


def test_lists_of_one_document():
    lists = packed(1, 1)
    assert lists.mask() is None
    assert lists.pad(torch.tensor([3.0, 4.0])).tolist() == [[3], [4]]


def test_gradients_pass_through_padding():
    values = torch.arange(4.0, requires_grad=True)
    lists = packed(1, 3)
    (lists.pad(values) * torch.tensor([[1.0, 9, 9], [2, 3, 4]])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("known", [True, False])
def test_moving_keeps_everything(known: bool):
    rows = np.ones((3, 2), np.float32)
    lists = PackedLists.of(rows, np.array([2, 1]), np.zeros(3) if known else None).to(torch.device("meta"))
    assert {lists.features.device.type, lists.owner.device.type, lists.position.device.type} == {"meta"}
    assert lists.lengths == (2, 1)
    assert (lists.reference is not None) == known

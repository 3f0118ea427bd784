"""Admission, memory, prefixes, cancellation and fairness, step by step."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cosdpo.errors import InputError
from serve.engine.requests import EngineStopped
from tests.serve.engine.scheduling import ask, batching_of, check_budget, check_empty, finish, generation, play
from tests.tiny_models import CONTEXT

LONG = [3 + i % 40 for i in range(30)]


@pytest.mark.parametrize("seed", range(6))
def test_memory_stays_within_the_budget_and_comes_back(make_twins, seed):
    scorer, _ = make_twins("gpt2-tied", conditioning="both", scope=("response", "sequence")[seed % 2])
    batching, told = play(scorer, 100 + seed, requests=25, cancels=0.4)  # checks both after every step
    stats = batching.stats
    assert stats.finished + stats.cancelled == len(told)
    assert stats.finished > 0
    assert stats.cancelled > 0


def test_a_prompt_is_encoded_once_for_all_trade_offs_with_scope_response(make_twins):
    scorer, _ = make_twins("gpt2-tied", scope="response")
    batching = batching_of(scorer, prefill_tokens=8)
    told = [
        ask(batching, generation(LONG, weights=(w, 1 - w), temperature=(t, t))) for w in (0, 0.5, 1) for t in (0.5, 1)
    ]
    finish(batching)
    assert batching.stats.encoded_tokens == len(LONG) - 1
    assert [t.last.usage.cached_tokens for t in told] == [0] + [len(LONG) - 1] * 5
    made = [len(t.sequence.tokens) for t in told]
    assert [t.last.usage.completion_tokens for t in told] == made
    assert [t.last.usage.base_tokens for t in told] == [0, made[1], 0, made[3], 0, made[5]]
    assert {t.last.usage.prompt_tokens for t in told} == {len(LONG)}


def test_with_scope_sequence_a_trade_off_and_the_base_have_a_prefix_each(make_twins):
    scorer, _ = make_twins("gpt2-tied", scope="sequence")  # three soft tokens
    batching = batching_of(scorer)
    for weights in ((0.5, 0.5), (0.5, 0.5), (0.2, 0.8)):
        ask(batching, generation(LONG, weights=weights, temperature=(1.0, 1.0)))
    finish(batching)
    assert batching.stats.encoded_tokens == (len(LONG) - 1) + 2 * (len(LONG) - 1 + 3)


@pytest.mark.parametrize("scope", ["response", "sequence"])
def test_a_kept_prompt_and_a_shared_beginning_are_not_encoded_again(make_twins, scope):
    scorer, _ = make_twins("llama-tied", conditioning="gated_lora", scope=scope)
    batching = batching_of(scorer)
    told = []
    for prompt in (LONG, LONG, LONG[:20], [*LONG[:25], 7, 8, 9]):
        told.append(ask(batching, generation(prompt)))
        finish(batching)
    assert [t.last.usage.cached_tokens for t in told] == [0, 29, 19, 25]
    assert batching.stats.encoded_tokens == 29 + 0 + 0 + 2
    alone = ask(core_again := batching_of(scorer), told[-1].request)
    finish(core_again)
    assert alone.sequence.tokens == told[-1].sequence.tokens


def test_prompts_with_a_common_beginning_that_come_together_encode_it_once(make_twins):
    scorer, _ = make_twins("gpt2-tied", conditioning="gated_lora", scope="response")
    batching = batching_of(scorer, prefill_tokens=4)
    for last in range(5):
        ask(batching, generation([*LONG, 3 + last, 9]))
    finish(batching)
    assert batching.stats.encoded_tokens == len(LONG) + 5


def test_kept_prompts_give_way_to_admission_the_oldest_first(make_twins):
    scorer, _ = make_twins("gpt2-tied", conditioning="gated_lora", scope="response")
    batching = batching_of(scorer, kv_tokens=48 + 65, prefix_tokens=100)  # a slot takes all 48 positions
    prompts = [[3 + i, *LONG] for i in range(4)]
    for prompt in (*prompts[:2], prompts[0]):
        ask(batching, generation(prompt))
        finish(batching)
    assert batching.stats.encoded_tokens == 60
    ask(batching, generation(prompts[2]))  # 48 + 30 do not fit beside two prompts of 30
    finish(batching)
    before = batching.stats.encoded_tokens
    ask(batching, generation(prompts[0]))
    finish(batching)
    assert batching.stats.encoded_tokens == before
    ask(batching, generation(prompts[1]))
    finish(batching)
    assert batching.stats.encoded_tokens == before + 30


def test_requests_wait_in_order_for_memory(make_twins):
    scorer, _ = make_twins("gpt2-tied", conditioning="gated_lora", scope="response")
    batching = batching_of(scorer, kv_tokens=2 * CONTEXT + 10, prefix_tokens=0)
    told = [ask(batching, generation([5 + i, 6], max_new_tokens=3 + i)) for i in range(4)]
    batching.step()
    assert batching.stats.waiting == 2
    order = []
    while batching.busy:
        batching.step()
        check_budget(batching)
        order += [i for i, t in enumerate(told) if t.items and t.last.usage and i not in order]
    assert order == [0, 1, 2, 3]


def test_what_can_never_run_is_refused(make_twins):
    scorer, _ = make_twins("gpt2-tied", conditioning="both", scope="response")
    batching = batching_of(scorer, kv_tokens=80)
    with pytest.raises(InputError, match="the prompt has 46 tokens; this model reads 45"):
        batching.sequence(generation([5] * 46), print)
    with pytest.raises(InputError, match="max_new_tokens 40 does not fit into the 80 tokens"):
        batching.sequence(generation([5] * 40, max_new_tokens=40), print)
    batching.sequence(generation([5] * 20, max_new_tokens=20), print)
    with pytest.raises(InputError, match="does not fit"):  # for it needs two slots
        batching.sequence(generation([5] * 20, max_new_tokens=20, temperature=(1.0, 1.0)), print)


def test_cancelling_frees_everything_before_the_next_step(make_twins):
    scorer, _ = make_twins("gpt2-tied", scope="sequence")
    batching = batching_of(scorer, prefill_tokens=4, max_running=4)
    running = ask(batching, generation([5, 6], max_new_tokens=40, temperature=(1.0, 1.0)))
    while not running.items:
        batching.step()
    preparing = ask(batching, generation(LONG))
    waiting = ask(batching, generation(LONG, temperature=(1.0, 1.0)))
    batching.step()
    assert (len(batching.scheduler.running), len(batching.scheduler.preparing), len(batching.scheduler.waiting)) == (
        1,
        1,
        1,
    )
    seen = len(running.items)
    for told in (running, preparing, waiting):
        told.sequence.cancelled = True
    batching.step()
    check_empty(batching)
    assert not batching.busy
    assert batching.stats.cancelled == 3
    assert batching.stats.kv_tokens_used == batching.stats.prefix_tokens
    assert len(running.items) == seen


def test_a_long_prompt_stops_neither_those_who_decode_nor_short_prompts(make_twins):
    scorer, _ = make_twins("gpt2-tied", conditioning="gated_lora", scope="response")
    batching = batching_of(scorer, prefill_tokens=4, kv_tokens=8000)
    decoding = ask(batching, generation([5], max_new_tokens=40))
    batching.step()
    long = ask(batching, generation(LONG))
    stream_of_short = []
    for step in range(1, 30):
        stream_of_short.append(ask(batching, generation([3 + step, 4, 5, 6], max_new_tokens=1)))
        batching.step()
        assert len(decoding.sequence.tokens) == step + 1  # a token in every step
    assert stream_of_short[0].items
    # A quarter of 4 tokens per step is the oldest prompt's, whatever short ones come: 29 tokens in 29 steps.
    batching.step()
    assert long.items or long.sequence.rows[0].slot is not None


def test_nan_fails_the_row_that_has_it_and_leaves_no_trace(make_twins):
    scorer, _ = make_twins("gpt2-tied", conditioning="gated_lora", scope="response")
    batching = batching_of(scorer)
    sick = ask(batching, generation([5, 6], max_new_tokens=20))
    well = ask(batching, generation([7, 8], max_new_tokens=20))
    batching.step()
    batching.step()
    with torch.inference_mode():
        for keys in sick.sequence.rows[0].slot.key_layers():
            keys[:, :3] = math.nan
    batching.step()
    assert isinstance(sick.items[-1], EngineStopped)
    again = ask(batching, replace(sick.request))  # takes the slot that was freed
    finish(batching)
    alone = batching_of(scorer)
    expected = [ask(alone, replace(well.request)), ask(alone, replace(sick.request))]
    finish(alone)
    assert [well.sequence.tokens, again.sequence.tokens] == [t.sequence.tokens for t in expected]
    assert batching.stats.failed == 1


def test_rows_stay_together_and_pools_shrink_for_others(make_twins):
    scorer, _ = make_twins("gpt2-tied", conditioning="gated_lora", scope="response")
    batching = batching_of(scorer)
    memory = batching.memory
    with torch.inference_mode():
        slots = [memory.take_slot(48) for _ in range(5)]
        pool = slots[0].pool
        assert pool.capacity == 8  # doubled
        for i, slot in enumerate(slots):
            slot.used = 2
            slot.key_layers()[0][:] = i
        pool.give_back(slots[1])
        pool.give_back(slots[4])
        memory.tidy()
        assert [s.index for s in (slots[0], slots[3], slots[2])] == [0, 1, 2]
        assert [float(pool.keys[0][i, 0, 0, 0]) for i in range(3)] == [0, 3, 2]
        memory.budget = 8 * 48 + 10
        memory.take_prefix(20)
        assert pool.capacity == 3

"""The thread and its door to asyncio: streams, cancelling, a full queue, failure, draining, scores."""

from __future__ import annotations

import asyncio
import time

import pytest
import torch

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from serve.engine import Engine, EngineSettings, EngineStopped, QueueFull
from serve.engine.requests import Chunk
from tests.serve.engine.scheduling import ask, batching_of, finish, generation
from tests.tiny_models import letters

LONG = [3 + i % 40 for i in range(20)]


@pytest.fixture
def make_engine(make_twins):
    engines = []

    def make(**changes: object) -> Engine:
        scorer, _ = make_twins("gpt2-tied", conditioning="both", scope="response")
        engine = Engine(scorer.eval(), letters(), EngineSettings(**({"kv_tokens": 4096} | changes)))
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.stop()


async def read(stream) -> list[Chunk]:
    return [chunk async for chunk in stream]


async def until(condition) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


def hold(engine: Engine) -> None:
    """Makes every step last, so that what runs goes on running."""
    step = engine.batching.step
    engine.batching.step = lambda: (time.sleep(0.01), step())  # type: ignore[method-assign]


def test_streams_tell_what_the_core_tells(make_engine):
    engine = make_engine()
    wanted = [generation([5 + i, 9], weights=(i / 8, 1 - i / 8), max_new_tokens=12, logprobs=1) for i in range(8)]
    alone = []
    for request in wanted:
        batching = batching_of(engine.batching.scorer)
        alone.append(ask(batching, request))
        finish(batching)
    engine.start()

    async def main() -> list[list[Chunk]]:
        assert engine.healthy()
        answers = await asyncio.gather(*(read(engine.submit(request)) for request in wanted))
        await engine.drain()
        with pytest.raises(EngineStopped, match="shutting down"):
            engine.submit(wanted[0])
        return answers

    for chunks, told in zip(asyncio.run(main()), alone, strict=True):
        assert "".join(chunk.text for chunk in chunks) == told.text
        assert chunks[-1].finish_reason == told.last.finish_reason
        assert chunks[-1].usage == told.last.usage
        assert [each.token for chunk in chunks for each in chunk.logprobs] == told.sequence.tokens
        assert all(chunk.text for chunk in chunks[:-1])
        assert all(chunk.finish_reason is None for chunk in chunks[:-1])
        counts = [chunk.usage.completion_tokens for chunk in chunks]
        assert counts == sorted(counts)
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.finished) == (0, 0, 8)
    assert stats.tokens == sum(len(told.sequence.tokens) for told in alone)


def test_a_slow_reader_gets_joined_chunks(make_engine):
    engine = make_engine()
    engine.start()

    async def main() -> list[Chunk]:
        stream = engine.submit(generation(LONG[:3], max_new_tokens=12, logprobs=0))
        await until(lambda: engine.stats().finished == 1)
        await asyncio.sleep(0.02)
        return await read(stream)

    (chunk,) = asyncio.run(main())
    assert len(chunk.logprobs) == chunk.usage.completion_tokens > 1


def test_cancelling_a_stream_ends_it_and_frees_its_rows(make_engine):
    engine = make_engine()
    hold(engine)
    engine.start()

    async def main() -> None:
        stream = engine.submit(generation(LONG, max_new_tokens=24, temperature=(1.0, 1.0)))
        await anext(stream)
        assert engine.stats().running == 2
        stream.cancel()
        stream.cancel()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await until(lambda: engine.stats().running == 0)
        closed = engine.submit(generation(LONG, max_new_tokens=24))
        await closed.aclose()
        await until(lambda: engine.stats().cancelled == 2)
        assert engine.stats().kv_tokens_used == engine.stats().prefix_tokens

    asyncio.run(main())


def test_a_full_queue_refuses_and_says_when_to_come_again(make_engine):
    engine = make_engine(max_running=2, max_waiting=3)
    hold(engine)
    engine.start()

    async def main() -> None:
        streams = [engine.submit(generation([5, i], max_new_tokens=20)) for i in range(2)]
        await until(lambda: engine.stats().running == 2)
        streams += [engine.submit(generation([5, i], max_new_tokens=20)) for i in range(3)]
        with pytest.raises(QueueFull) as full:
            engine.submit(generation([5]))
        assert full.value.retry_after >= 1
        with pytest.raises(QueueFull):
            await engine.score((5,), [(6,)], (0.5, 0.5), (0.5, 0.5))
        answers = await asyncio.gather(*map(read, streams))
        assert all(chunks[-1].finish_reason for chunks in answers)

    asyncio.run(main())


def test_what_can_never_run_is_refused_at_the_door(make_engine):
    engine = make_engine(kv_tokens=64)
    engine.start()

    async def main() -> None:
        with pytest.raises(InputError, match="max_new_tokens"):
            engine.submit(generation(LONG, max_new_tokens=20, temperature=(1.0, 1.0)))

    asyncio.run(main())


def test_a_failing_step_ends_all_streams_and_health(make_engine, caplog):
    engine = make_engine()
    step, steps = engine.batching.step, []

    def fail() -> None:
        steps.append(step())
        if len(steps) == 6:
            raise RuntimeError("out of memory")

    engine.batching.step = fail
    engine.start()

    async def main() -> None:
        streams = [engine.submit(generation([5, i], max_new_tokens=30)) for i in range(3)]
        for stream in streams:
            with pytest.raises(EngineStopped, match="failed"):
                await read(stream)
        assert not engine.healthy()
        with pytest.raises(EngineStopped):
            engine.submit(generation([5]))

    asyncio.run(main())
    assert "out of memory" in caplog.text


def test_stopping_ends_running_streams(make_engine):
    engine = make_engine()
    hold(engine)
    engine.start()

    async def main() -> None:
        stream = engine.submit(generation([5, 6], max_new_tokens=40))
        await anext(stream)
        engine.stop()
        with pytest.raises(EngineStopped, match="stopped"):
            await read(stream)
        assert not engine.healthy()

    asyncio.run(main())


def test_an_engine_whose_step_never_ends_is_unhealthy(make_engine):
    engine = make_engine(stall_seconds=0.1)
    engine.start()
    step = engine.batching.step
    engine.batching.step = lambda: (time.sleep(0.4), step())

    async def main() -> None:
        await asyncio.sleep(0.15)
        assert engine.healthy()  # nothing to do for longer than that
        stream = engine.submit(generation([5], max_new_tokens=1))
        assert engine.healthy()
        await asyncio.sleep(0.25)
        assert not engine.healthy()
        stream.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0, float("inf")])
def test_scores_are_the_scorers_own_and_decoding_goes_on_between_pieces(make_engine, c):
    engine = make_engine(score_tokens=10)
    scorer = engine.batching.scorer
    prompt, candidates = (5, 9, 20), [(4, 6, 8), (7,), (11, 3, 40, 8, 9, 30, 31), (8, 2)]
    contexts = [TokenizedContext(list(prompt), [list(y) for y in candidates])]
    w, beta = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.5, 0.5]])
    expected = scorer.rescaled(contexts, w, beta, c)[0]
    reference = scorer.reference(contexts)[0]
    engine.start()

    async def main():
        decoding = asyncio.create_task(read(engine.submit(generation([7], max_new_tokens=30))))
        scores = await engine.score(prompt, candidates, (0.2, 0.8), (0.5 * c, 0.5 * c))
        await decoding
        assert (await engine.score(prompt, [], (0.2, 0.8), (0.5, 0.5))).tuned == ()
        for wrong in ([(4,), ()], [tuple(range(3, 47))]):
            with pytest.raises(InputError, match="candidate"):
                await engine.score(prompt, wrong, (0.2, 0.8), (0.5, 0.5))
        return scores, decoding.result()

    scores, decoded = asyncio.run(main())
    torch.testing.assert_close(torch.tensor(scores.tuned), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(scores.base), reference, atol=1e-4, rtol=0)
    batching = batching_of(scorer)
    alone = ask(batching, generation([7], max_new_tokens=30))
    finish(batching)
    assert "".join(chunk.text for chunk in decoded) == alone.text

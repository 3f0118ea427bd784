"""The engine's thread and its door to asyncio: requests in by an inbox, chunks out by one call per step and loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence as Items

import torch
from transformers import PreTrainedTokenizerBase

from cosdpo.models.language_scorer import LanguageScorer
from serve.engine.continuous_batching import ContinuousBatching
from serve.engine.engine_settings import EngineSettings
from serve.engine.requests import EngineStats, EngineStopped, Generation, QueueFull, Scores
from serve.engine.scoring import Scoring
from serve.engine.sequence import Sequence
from serve.engine.stream import Item, Stream, deliver

logger = logging.getLogger(__name__)


class Engine:
    """Answers requests by continuous batching in a thread of its own."""

    def __init__(self, scorer: LanguageScorer, tokenizer: PreTrainedTokenizerBase, settings: EngineSettings) -> None:
        """Takes over `scorer`: nothing else may run it from now on."""
        self.settings = settings
        self.batching = ContinuousBatching(scorer, tokenizer, settings)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._lock = threading.Condition()
        self._inbox: list[Sequence] = []
        self._scorings: deque[Scoring] = deque()
        self._open: dict[int, Stream] = {}
        """Streams that have not ended, by the id of their sequence."""
        self._outbox: list[tuple[Stream, Item]] = []
        self._draining = self._stopping = False
        self._died: BaseException | None = None
        self._moved = time.monotonic()
        """When the last step ended, or work came to an idle engine."""
        self._seconds_per_request = 1.0
        self._seconds_since_finish = 0.0

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def submit(self, request: Generation) -> Stream:
        """Queues a request; from an asyncio loop, which then reads the stream.

        Raises:
            InputError: it could never run; the message names the prompt, max_new_tokens or response_format.
            QueueFull: as many wait as may.
            EngineStopped: the engine takes no more.
        """
        self._accept()
        entry: list[Sequence] = []
        stream = Stream(lambda: self._cancel(entry[0]))
        sequence = self.batching.sequence(request, lambda item: self._outbox.append((stream, item)))
        entry.append(sequence)
        with self._lock:
            self._accept()
            self._check_queue()
            self._open[id(sequence)] = stream
            self._inbox.append(sequence)
            self._wake()
        return stream

    async def compile(self, schema: str) -> None:
        """Makes a JSON schema ready for the requests that ask for it.

        Raises:
            UnusableSchemaError: no answer of this model can be held to it.
        """
        await self.batching.grammars.compile(schema)

    async def score(
        self,
        prompt: tuple[int, ...],
        candidates: Items[tuple[int, ...]],
        weights: tuple[float, ...],
        temperature: tuple[float, ...],
    ) -> Scores:
        """Log-probabilities of candidates, tuned and base, computed between decoding steps.

        Raises:
            InputError: a candidate without tokens, or too long.
            QueueFull: as many requests wait as may.
            EngineStopped: the engine failed or was stopped meanwhile.
        """
        scoring = Scoring(self.batching.scorer, prompt, candidates, weights, temperature)
        scoring.check()
        if not candidates:
            return scoring.scores()
        with self._lock:
            self._accept()
            self._check_queue()
            self._scorings.append(scoring)
            self._wake()
        return await asyncio.wrap_future(scoring.future)

    def stats(self) -> EngineStats:
        """The state after the last step."""
        return self.batching.stats

    def healthy(self) -> bool:
        """Whether the thread lives and, if there is work, a step ended within `stall_seconds`."""
        if self._died is not None or not self._thread.is_alive():
            return False
        with self._lock:
            return not self._has_work() or time.monotonic() - self._moved < self.settings.stall_seconds

    async def drain(self) -> None:
        """Takes nothing new; returns when all that was taken has ended."""
        self._draining = True
        while self._has_work() and self._thread.is_alive():
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Ends the thread after its present step; what runs gets EngineStopped."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _accept(self) -> None:
        if self._draining or self._stopping or self._died is not None:
            raise EngineStopped("the engine is shutting down" if self._died is None else "the engine has failed")

    def _check_queue(self) -> None:
        waiting = len(self._inbox) + self.batching.waiting + len(self._scorings)
        if waiting >= self.settings.max_waiting:
            raise QueueFull(max(1.0, self._seconds_per_request))

    def _has_work(self) -> bool:
        return bool(self._open or self._scorings)

    def _wake(self) -> None:
        if len(self._open) + len(self._scorings) == 1:
            self._moved = time.monotonic()
        self._lock.notify()

    def _cancel(self, sequence: Sequence) -> None:
        sequence.cancelled = True
        with self._lock:
            self._open.pop(id(sequence), None)
            self._lock.notify()

    def _run(self) -> None:
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        try:
            with torch.inference_mode():
                while self._collect():
                    self._turn()
            self._fail(EngineStopped("the engine was stopped"))
        except Exception as error:
            logger.exception("the engine failed")
            self._died = error
            self._fail(EngineStopped("the engine failed"))

    def _collect(self) -> bool:
        """Takes in new sequences, after waiting until there is something to do; False once the engine is stopped."""
        with self._lock:
            while not (self._stopping or self._inbox or self._scorings or self.batching.busy):
                self._lock.wait()
            for sequence in self._inbox:
                self.batching.add(sequence)
            self._inbox.clear()
            return not self._stopping

    def _turn(self) -> None:
        """One step, and one piece of scoring."""
        began, ended = time.monotonic(), self.batching.stats.finished
        if self.batching.busy:
            self.batching.step()
            self._deliver()
        if self._scorings:
            self._score(self._scorings[0])
        self._moved = time.monotonic()
        self._seconds_since_finish += self._moved - began
        if self.batching.stats.finished > ended:
            latest = self._seconds_since_finish / (self.batching.stats.finished - ended)
            self._seconds_per_request += 0.1 * (latest - self._seconds_per_request)
            self._seconds_since_finish = 0.0

    def _score(self, scoring: Scoring) -> None:
        done = True
        if not scoring.future.cancelled():
            done = scoring.run(self.settings.score_tokens)
            if done and scoring.future.set_running_or_notify_cancel():
                scoring.future.set_result(scoring.scores())
        if done:
            self._scorings.popleft()

    def _deliver(self) -> None:
        """Hands out what the step gave; one wake-up for each event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Stream, Item]]] = {}
        for stream, item in self._outbox:
            by_loop.setdefault(stream.loop, []).append((stream, item))
        self._outbox.clear()
        running = {id(sequence) for sequence in self.batching.everyone()}
        with self._lock:
            arriving = {id(sequence) for sequence in self._inbox}
            self._open = {key: s for key, s in self._open.items() if key in running or key in arriving}
        for loop, items in by_loop.items():
            try:
                loop.call_soon_threadsafe(deliver, items)
            except RuntimeError:  # the loop is closed, so that nobody reads these streams any more
                for stream, _ in items:
                    stream.cancel()

    def _fail(self, error: EngineStopped) -> None:
        """Ends everything that is open with `error`."""
        with self._lock:
            self._stopping = True
            self._outbox += [(stream, error) for stream in self._open.values()]
            self._open.clear()
            scorings = list(self._scorings)
            self._scorings.clear()
        self._deliver()
        for scoring in scorings:
            if scoring.future.set_running_or_notify_cancel():
                scoring.future.set_exception(error)

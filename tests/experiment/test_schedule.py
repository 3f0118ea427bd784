"""The schedule with plain Ray tasks: order, slots, dependencies, failures, and what was done before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import pytest
import ray

from cosdpo.errors import InputError
from cosdpo.experiment import schedule as module
from cosdpo.experiment.progress import Activity, State
from cosdpo.experiment.schedule import Schedule, Step, in_one_line

pytestmark = pytest.mark.usefixtures("ray_of_two_cores")

CPUS = 0.5
"""Of a task, so that more of them fit than any test has slots: it is the schedule that holds back."""


@pytest.fixture
def started() -> list[str]:
    """Names of the steps in the order in which they were submitted."""
    return []


@pytest.fixture
def step(started) -> Callable[..., Step]:
    """A step that returns its name in capitals; or raises, or was done before."""

    @ray.remote(num_cpus=CPUS)
    def work(name: str, error: Exception | None) -> tuple[str, float, float]:
        began = time.monotonic()
        time.sleep(0.05)
        if error is not None:
            raise error
        return name.upper(), began, time.monotonic()

    def make(
        name: str, cost: float = 1.0, needs: str = "", error: Exception | None = None, before: object = None
    ) -> Step:
        def start() -> object:
            started.append(name)
            return before or work.remote(name, error)

        return Step(name, cost, tuple(needs.split()), start)

    return make


class Screen:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.states: list[dict[str, State]] = []
        self.running: list[Mapping[str, Activity]] = []
        self.left: dict[int, float | None] = {}
        """Remaining seconds by the number of steps that were done."""

    def show(
        self,
        states: Mapping[str, State],
        running: Mapping[str, Activity],
        remarks: Mapping[str, str],
        remaining: float | None,
    ) -> None:
        self.states.append(dict(states))
        self.running.append(running)
        self.left[list(states.values()).count("done")] = remaining


def run(steps: list[Step], slots: int = 2, screen: Screen | None = None) -> Schedule:
    schedule = Schedule(steps, slots, screen or Screen(), in_one_line)
    schedule.run()
    return schedule


def overlap(schedule: Schedule) -> int:
    """Most tasks that were at work at one time, by their own clocks."""
    spans = [result[1:] for result in schedule.results.values()]
    return max(sum(began <= at < ended for began, ended in spans) for at, _ in spans)


def test_results_and_states_by_name(step):
    schedule = run([step("a"), step("b")])
    assert {name: result[0] for name, result in schedule.results.items()} == {"a": "A", "b": "B"}
    assert schedule.states == {"a": "done", "b": "done"}
    assert schedule.failures == {}


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_the_longest_first_and_never_more_than_fit(step, started, slots):
    screen = Screen()
    costs = {"c": 3.0, "a": 1.0, "e": 5.0, "b": 2.0, "d": 4.0, "f": 6.0}
    schedule = run([step(name, cost) for name, cost in costs.items()], slots, screen)
    assert started == ["f", "e", "d", "c", "b", "a"]
    assert overlap(schedule) <= slots
    assert max(list(at.values()).count("running") for at in screen.states) == slots


def test_a_step_starts_after_all_that_it_needs(step, started):
    # By cost alone d would be first.
    schedule = run([step("d", 9, needs="b c"), step("c", 1, needs="a"), step("b", 2, needs="a"), step("a", 1)])
    assert started[0] == "a"
    assert started[-1] == "d"
    ended = {name: result[2] for name, result in schedule.results.items()}
    began = {name: result[1] for name, result in schedule.results.items()}
    for name, needs in (("b", "a"), ("c", "a"), ("d", "bc")):
        assert all(began[name] >= ended[need] for need in needs)


class TestFailure:
    def test_it_takes_what_needs_it_along_and_nothing_else(self, step, started):
        steps = [
            step("bad", 9, error=ValueError("no such thing\nat all")),
            step("child", needs="bad good"),
            step("grandchild", needs="child"),
            step("good"),
            step("other", needs="good"),
        ]
        schedule = run(steps)
        assert schedule.states == {
            "bad": "failed", "child": "failed", "grandchild": "failed", "good": "done", "other": "done",
        }  # fmt: skip
        assert schedule.failures == {
            "bad": "ValueError: no such thing",
            "child": "needs bad, which failed",
            "grandchild": "needs child, which failed",
        }
        assert sorted(started) == ["bad", "good", "other"]
        assert schedule.results.keys() == {"good", "other"}

    def test_a_step_with_two_needs_that_fail_has_failed_once(self, step, started):
        schedule = run([step("a", error=ValueError("x")), step("b", error=OSError("y")), step("c", needs="a b")])
        assert set(schedule.states.values()) == {"failed"}
        assert schedule.failures["c"] in ("needs a, which failed", "needs b, which failed")
        assert "c" not in started
        assert sorted(type(error.cause).__name__ for error in schedule.errors) == ["OSError", "ValueError"]

    def test_a_mistake_of_the_user_has_its_own_message(self, step):
        assert run([step("a", error=InputError("mend it"))]).failures == {"a": "mend it"}

    def test_a_process_that_dies(self, step):
        @ray.remote(num_cpus=CPUS, max_retries=0)
        def die() -> None:
            import os

            os._exit(1)

        schedule = run([Step("dead", 1.0, (), die.remote), step("good")])
        assert schedule.states == {"dead": "failed", "good": "done"}
        assert "WorkerCrashedError" in schedule.failures["dead"]
        assert "\n" not in schedule.failures["dead"]


class TestDoneBefore:
    def test_results_are_taken_and_take_no_slot(self, step, started):
        steps = [
            step("old", 9, before="kept"),
            step("older", needs="old", before="kept too"),
            step("new", needs="older"),
        ]
        schedule = run(steps, slots=1)
        assert started == ["old", "older", "new"]
        assert schedule.results["old"] == "kept"
        assert schedule.results["older"] == "kept too"
        assert schedule.results["new"][0] == "NEW"

    def test_thousands_of_steps(self, step):
        screen = Screen()
        steps = [step(str(number), before=number + 1) for number in range(3000)]
        assert run(steps, screen=screen).results == {str(number): number + 1 for number in range(3000)}
        assert set(screen.states[-1].values()) == {"done"}


def test_what_finishing_makes_of_a_result_is_the_result(step):
    def finish(result: tuple[str, float, float], results: Mapping[str, object]) -> str:
        return f"{result[0]} after {results['a']}"

    first, second = step("a", before="old"), step("b", needs="a")
    schedule = run([first, Step("b", 1.0, ("a",), second.start, finish)])
    assert schedule.results == {"a": "old", "b": "B after old"}


def test_the_activities_of_what_runs_are_shown(step):
    screen = Screen()
    run([Step("a", 1.0, (), step("a").start, activity=lambda: Activity(3, 10)), step("b", needs="a")], screen=screen)
    assert {"a": Activity(3, 10)} in screen.running
    assert screen.running[-1] == {}


@pytest.fixture
def clock(monkeypatch) -> None:
    """10 s after the start at every later look."""
    at = iter([100.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(at, 110.0)))


def test_remaining_seconds(step, clock):
    # Of the cost that was not done before, 6 in all, the first step does 3, the second 2: then 10 * (2 + 1) / 3 = 10 s
    # and 10 * 1 / 5 = 2 s are left.
    screen = Screen()
    run([step("before", 100, before=1), step("b", 1), step("a", 3), step("c", 2)], 1, screen)
    assert screen.left == {1: None, 2: pytest.approx(10), 3: pytest.approx(2), 4: pytest.approx(0)}


def test_what_failed_is_not_waited_for(step, clock):
    screen = Screen()
    run([step("a", 3), step("bad", 5, error=ValueError("x")), step("c", 7, needs="bad")], 1, screen)
    assert screen.left[1] == 0

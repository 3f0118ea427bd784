"""Which process of pytest-xdist runs which file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

RAY = "on Ray"
FIRST = (
    RAY,
    "tests/preflight/test_memory_fit.py",
    "tests/training/test_invariants.py",
    "tests/training/test_elastic.py",
)
"""What takes longest, so that no process is left alone with it at the end; then follow files of many tests."""


class WholeFiles(LoadScopeScheduling):
    """All tests of a file run in one process, which makes the file's fixtures once, and all files on Ray in the same.

    xdist has --dist loadgroup for that, but its groups stand in names of tests that pytest 9.2 does not read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return RAY if _on_ray(self.config.rootpath / path) else path

    def _assign_work_unit(self, node: WorkerController) -> None:
        first = next((scope for scope in FIRST if scope in self.workqueue), None)
        if first is not None:
            self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)


@cache
def _on_ray(path: Path) -> bool:
    return "ray_of_two_cores" in path.read_text()

"""The two tasks of the package behind one interface: language models and rankers.

A task reads and checks its data, knows the reference scores, creates scorers and measures them. Everything else (the
run, its training, methods, sweeps) is the same for both.
"""

from __future__ import annotations

from cosdpo.config import Config
from cosdpo.tasks.task import Task


def task_of(config: Config) -> type[Task]:
    """The class of config.task, imported when it is needed: a ranker needs no transformers."""
    if config.task == "ranking":
        from cosdpo.tasks.ranking import RankingTask

        return RankingTask
    from cosdpo.tasks.language import LanguageTask

    return LanguageTask

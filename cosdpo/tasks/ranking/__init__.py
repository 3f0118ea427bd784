"""Rankers."""

from cosdpo.tasks.ranking.ranking_task import RankingTask

__all__ = ["RankingTask"]

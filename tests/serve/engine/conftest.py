"""Tiny scorers, as for the models' own tests."""

from tests.models.conftest import make_scorer, make_twins, model_folder  # noqa: F401

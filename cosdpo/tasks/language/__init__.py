"""Language models."""

from cosdpo.tasks.language.language_task import LanguageTask

__all__ = ["LanguageTask"]

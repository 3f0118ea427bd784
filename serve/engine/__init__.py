"""Continuous batching of conditioned language models: every row has its own trade-off, temperature and settings."""

from serve.engine.engine import Engine
from serve.engine.engine_settings import EngineSettings
from serve.engine.requests import EngineStopped, QueueFull
from serve.engine.stream import Stream

__all__ = ["Engine", "EngineSettings", "EngineStopped", "QueueFull", "Stream"]

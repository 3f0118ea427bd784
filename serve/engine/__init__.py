"""Continuous batching of conditioned language models: every row has its own trade-off, temperature and settings."""

from serve.engine.engine import Engine
from serve.engine.stream import Stream
from serve.generation import EngineStopped, QueueFull
from serve.settings import EngineSettings

__all__ = ["Engine", "EngineSettings", "EngineStopped", "QueueFull", "Stream"]

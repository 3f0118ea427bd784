"""The engine's settings."""

from __future__ import annotations

from pydantic import Field

from cosdpo.config import Section


class EngineSettings(Section):
    """How much the engine takes on at a time."""

    max_running: int = Field(default=64, ge=2)
    """Rows decoded at a time; a request away from the trained temperature takes two."""
    max_waiting: int = Field(default=256, ge=1)
    """Requests that may wait for a place; more are refused."""
    kv_tokens: int = Field(default=16384, ge=64)
    """Tokens whose keys and values may be held at a time, those of cached prompts included."""
    prefix_tokens: int = Field(default=4096, ge=0)
    """Of these, tokens of prompts that are kept for later requests; admission takes them back when it needs room."""
    prefill_tokens: int = Field(default=256, ge=1)
    """Prompt tokens encoded per step at most, so that decoding goes on while long prompts come in."""
    score_tokens: int = Field(default=512, ge=1)
    """Tokens scored between two steps, as far as single candidates allow."""
    stall_seconds: float = Field(default=60.0, gt=0)
    """The engine counts as unhealthy when there is work and no step ended for so long."""
    threads: int = Field(default=0, ge=0)
    """Threads of one step; 0 leaves torch's own choice."""

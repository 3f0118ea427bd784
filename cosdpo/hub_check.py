"""Whether a repository of the Hugging Face hub can be had, asked once and answered at once.

The libraries that download from the hub retry a connection for half a minute and print each attempt. Asking first lets
a job on a machine without a network, or with a misspelt name, stop in a second with one line.
"""

from __future__ import annotations

from typing import Literal

from huggingface_hub import HfApi, is_offline_mode
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from cosdpo.errors import InputError

PATIENCE = 10.0
"""Seconds to wait for the hub's answer."""


def require(name: str, kind: Literal["dataset", "model"], mend: str) -> None:
    """Returns if the hub has the repository, or if HF_HUB_OFFLINE sends every request to the local cache anyway.

    Args:
        name: OWNER/NAME.
        mend: what to do without the hub, the end of the message.

    Raises:
        InputError: the hub cannot be reached, or it has no such repository (or not for this user).
    """
    if is_offline_mode():
        return
    api = HfApi()
    ask = api.dataset_info if kind == "dataset" else api.model_info
    try:
        ask(name, timeout=PATIENCE)
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(f"the hub has no {kind} {name!r}, or it is private; check the name, or {mend}") from None
    except Exception as error:  # whichever of the transport's errors: the hub did not answer
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"cannot reach the hub for the {kind} {name!r} ({reason}); {mend}, or set HF_HUB_OFFLINE=1 if it is cached"
        ) from None

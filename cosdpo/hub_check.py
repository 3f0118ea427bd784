"""What the Hugging Face hub must have, or must be given, asked once and answered at once in one line.

The libraries that download from the hub retry a connection for half a minute and print each attempt. Asking first lets
a job on a machine without a network, or with a misspelt name, stop in a second with one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from huggingface_hub import CardData, HfApi, ModelCard, get_token, is_offline_mode, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, but not in its __all__

from cosdpo.errors import InputError

PATIENCE = 10.0
"""Seconds to wait for the hub's answer."""
LICENCE = ("license", "license_name", "license_link")
"""What a model card says of its licence."""


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
        raise InputError(
            f"cannot reach the hub for the {kind} {name!r} ({reason(error)}); {mend}, or set HF_HUB_OFFLINE=1 if it is "
            "cached"
        ) from None


def download(name: str, mend: str) -> Path:
    """The folder in the local cache that holds the JSON and safetensors files of a model of the hub, and no others.

    Raises:
        InputError: the hub cannot be reached, or it has no such model (or not for this user).
    """
    require(name, "model", mend)
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # whichever of the transport's errors, or it is not cached
        raise InputError(f"cannot download the model {name!r} from the hub ({reason(error)}); {mend}") from None


def require_token(purpose: str) -> None:
    """Returns if there is something to log in to the hub with.

    Args:
        purpose: what needs it, the beginning of the message.

    Raises:
        InputError: there is no token, or HF_HUB_OFFLINE is set.
    """
    if is_offline_mode():
        raise InputError(f"{purpose} needs the hub, which HF_HUB_OFFLINE keeps off; unset it")
    if not get_token():
        raise InputError(f"{purpose} needs a token of the hub: log in by `hf auth login`, or set HF_TOKEN")


def licence(name: str) -> Mapping[str, str]:
    """What the card of a model says of its licence, by the card's own keys; empty where it says nothing.

    Args:
        name: of a model of the hub, or its folder; where neither can be read, nothing is known.
    """
    try:
        said = _card(name)
    except Exception:  # whichever of the transport's or the card's errors: a licence is left out then, never guessed
        said = {}
    return {key: str(said[key]) for key in LICENCE if said.get(key)}


def _card(name: str) -> Mapping[str, object]:
    if Path(name).is_dir():
        data: CardData | None = ModelCard.load(Path(name) / "README.md").data
    else:
        data = HfApi().model_info(name, timeout=PATIENCE).card_data
    return data.to_dict() if data else {}


def public_name(name: str) -> str:
    """`name`, if it is in the form of a model on the hub and no folder or file of this machine; else empty."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return ""
    return "" if Path(name).exists() or name.endswith(".gguf") else name


def said(error: Exception, name: str) -> str:
    """Why the hub did not take what was pushed to `name`, and the mend."""
    owner = name.partition("/")[0]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the hub does not know the token; log in again by `hf auth login`, or mend HF_TOKEN"
    if status == 403:
        return f"the token may not write to {owner}; give one that may, or name another owner"
    return f"the hub did not take it ({reason(error)}); try again"


def reason(error: Exception) -> str:
    """The first line of an error, without the token, which a transport may quote."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    token = get_token()
    return line.replace(token, "***") if token else line

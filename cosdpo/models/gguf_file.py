"""A base model in a GGUF file, as llama.cpp and Ollama keep them: converted once to a folder in transformers' format.

What reads a base reads that folder, which lies in the cache. Checkpoints and fingerprints name the file itself, so that
every machine makes a folder of its own.
"""

from __future__ import annotations

import hashlib
import io
import logging
from contextlib import redirect_stderr
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from cosdpo.errors import InputError
from cosdpo.files import cache_folder, whole_folder

log = logging.getLogger("cosdpo")

SUFFIX = ".gguf"


def as_folder(name: str) -> str:
    """`name`, or where it is a GGUF file the folder that it is converted to.

    Raises:
        InputError: there is no such file, or transformers cannot read it.
    """
    if not name.endswith(SUFFIX):
        return name
    path = Path(name).resolve()
    if not path.is_file():
        raise InputError(f"model.base {name}: no such file")
    about = path.stat()
    return _converted(path, about.st_size, about.st_mtime_ns)


@cache
def _converted(path: Path, size: int, changed: int) -> str:
    key = hashlib.sha256(f"{path} {size} {changed}".encode()).hexdigest()[:16]
    folder = cache_folder() / "gguf" / f"{path.stem}-{key}"
    if not (folder / "config.json").exists():
        if find_spec("gguf") is None:
            raise InputError(f"model.base {path}: reading GGUF files needs the package gguf; run: pip install gguf")
        log.info("%s is converted, once", path.name)
        with whole_folder(folder) as temporary:
            _convert(path, temporary)
    return str(folder)


def _convert(path: Path, folder: Path) -> None:
    """Writes weights, in bfloat16, and tokenizer."""
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()  # it says of every file that its weights are no longer quantised
    try:
        with redirect_stderr(io.StringIO()):  # the reader has a bar of its own
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            read: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.bfloat16)
        # What comes from a GGUF file counts as quantised, and is not saved as it is.
        fields = {k: v for k, v in read.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
        with torch.device("meta"):
            model: Any = type(read)(type(read.config)(**fields))
        model.load_state_dict(read.state_dict(), assign=True)
        model.tie_weights()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except Exception as error:  # of a file that is broken or of an unknown kind: whatever its readers raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise InputError(f"model.base {path}: it cannot be read as a GGUF model ({reason})") from error
    finally:
        hf_logging.set_verbosity(verbosity)

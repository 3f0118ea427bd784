"""Trained tensors as checkpoints keep them: read whole and right, or refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cosdpo.errors import InputError


def read_tensors(file: Path, like: Mapping[str, Tensor], infinite: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors in a safetensors file, by name.

    Args:
        like: tensors of the names and shapes that the file must have, perhaps on the meta device.
        infinite: names of tensors that may have infinite values.

    Raises:
        InputError: the file cannot be read, lacks one of them or has others, or one has another shape, no real numbers
            or values that are not finite.
    """
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} cannot be read ({str(error).splitlines()[0]}); {_MEND}") from None
    for what, names in (("lacks", like.keys() - found.keys()), ("has an unknown", found.keys() - like.keys())):
        if names:
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{file} {what} {min(names)}{others}; {_MEND}")
    for name, tensor in found.items():
        if tensor.shape != like[name].shape:
            shapes = f"the shape {list(tensor.shape)} instead of {list(like[name].shape)}"
            raise InputError(f"{file}: {name} has {shapes}; {_MEND}")
        if not tensor.is_floating_point():
            raise InputError(f"{file}: {name} is of {tensor.dtype}, no real numbers; {_MEND}")
        if not (tensor.isnan().logical_not() if name in infinite else tensor.isfinite()).all():
            raise InputError(f"{file}: {name} has values that are not finite; {_MEND}")
    return found


@torch.no_grad()
def fill(tensors: Mapping[str, Tensor], file: Path, infinite: Collection[str] = ()) -> None:
    """Overwrites `tensors` by those that `read_tensors` finds in `file`."""
    for name, tensor in read_tensors(file, tensors, infinite).items():
        tensors[name].copy_(tensor)


_MEND = "give a whole checkpoint, or train it again"

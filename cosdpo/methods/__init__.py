"""The methods by name."""

from __future__ import annotations

from cosdpo.config import Config, MethodName
from cosdpo.methods.cos import Cos
from cosdpo.methods.linear_scalarization import LinearScalarization
from cosdpo.methods.method import Method
from cosdpo.methods.modpo import Modpo
from cosdpo.methods.soup import Soup

METHODS: dict[MethodName, type[Method]] = {
    "cos": Cos,
    "linear_scalarization": LinearScalarization,
    "soup": Soup,
    "modpo": Modpo,
}


def method_of(name: MethodName, config: Config) -> Method:
    """The method of that name for runs of `config`."""
    return METHODS[name](config)

"""YAML file and command line for any pydantic model: `main` frames a program, `read` gives the model alone."""

from cosdpo.cli.command_line import main, read

__all__ = ["main", "read"]

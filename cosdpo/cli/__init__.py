"""YAML file and command line for any pydantic model."""

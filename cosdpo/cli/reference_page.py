"""The reference page of the configuration's keys.

python -m cosdpo.cli.reference_page > docs/configuration.md          (also `make docs`)
"""

from __future__ import annotations

from cosdpo.config import Config
from cosdpo.config.named_keys import keys_of, shown

_PAGE = """\
# Configuration

Generated from cosdpo/config by `make docs`: change the docstrings there.

Every job takes the same keys:

    python jobs/NAME.py [--config FILE.yaml] [--section.key VALUE ...]

Values come, in rising order of precedence, from the defaults below, the job's own defaults (`--help` shows them), the
YAML file and the command line. A key given at a higher place replaces the whole value of a lower one.

| in the YAML file | on the command line |
|---|---|
| `training: {steps: 100}` or `training.steps: 100` | `--training.steps 100` or `--training.steps=100` |
| `resume: true` | `--resume` or `--resume true` |
| `objectives: [helpful, harmless]` | `--objectives helpful harmless`, `helpful,harmless` or `"[helpful, harmless]"` |
| `temperature: 0.1` or `temperature: [0.1, 0.2]` | `--temperature 0.1` or `--temperature 0.1,0.2` |
| `evaluation: {scorers: {helpful: positivity}}` | `--evaluation.scorers.helpful positivity` adds one entry, \
`--evaluation.scorers "{helpful: positivity}"` replaces all |

A wrong key or value stops a job before Ray starts, in one line that names the key and the mend, with exit code 2. Every
run writes its resolved configuration to `config.yaml` in its output folder, which `--config` reads again.
"""


def reference_page() -> str:
    """docs/configuration.md: one table a section."""
    lines = [_PAGE]
    for group in keys_of(Config).groups:
        lines += [f"## {group.name or 'Top level'}", "", group.help, ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [f"| `{key.name}` | {key.accepts} | {_code(key.default)} | {_cell(key.help)} |" for key in group.keys]
        lines += [""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(value: object) -> str:
    text = shown(value)
    return text if text == "empty" else f"`{text}`"


if __name__ == "__main__":
    print(reference_page(), end="")

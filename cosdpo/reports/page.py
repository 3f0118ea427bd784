"""The frame of every HTML page: templates with escaping on, what all pages are told, and report.html in its folder.

A page is a single file that loads nothing: style, plots and data are inside it, and its own content security policy
forbids everything else. page.html.j2 is the frame, page.css.j2 its looks in light, in dark and on paper.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cosdpo.cli.yaml_file import to_yaml
from cosdpo.config import Config
from cosdpo.evaluation.numbers import count, fact, listed, memory, number, over_folds, seconds, short, surely
from cosdpo.experiment.results.statistics import over_seeds
from cosdpo.files import write_whole

PAGE = "report.html"
METHOD = "https://arxiv.org/abs/2410.08316"


def write_page(config: Config, template: str, command: str | None, **context: Any) -> Path:
    """Writes report.html into config.output, whole or not at all, and returns its path.

    Args:
        command: what to type to get it again; the command line of this process by default.
        context: what the template shows besides command and configuration.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # scripts list metrics in the front's order
    for write in (number, surely, short, seconds, listed, over_folds, over_seeds, fact, memory, count):
        environment.filters[write.__name__] = write
    page = environment.get_template(template).render(
        config=config,
        config_yaml=to_yaml(config).strip(),
        command=command or shlex.join(["python", *sys.argv]),
        paper=METHOD,
        **context,
    )
    path = config.output / PAGE
    write_whole(path, page)
    return path

"""A plot as part of an HTML page: it loads nothing, and takes its colours from the page.

Ink, muted ink, rules and paper become the CSS variables of the page's style; other colours are lightened by --lift on
dark paper.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence

import matplotlib as mpl
from markupsafe import Markup

from cosdpo.reports.drawing import INK, MUTED, PAPER, RULE, STYLE
from cosdpo.reports.sheet import Sheet


def inline_svg(sheet: Sheet, description: str, titles: Sequence[str] | None = None) -> Markup:
    """The plot as an <svg> element. Artists of gid point-N and line-N become groups of class "point" and "line" with
    data-point="N" and titles[N] as hover text.

    Args:
        description: what the plot shows, for people who hear the page, plain text; no other plot of the page has it.
        titles: hover texts, plain text; those of the sheet by default.
    """
    titles = sheet.titles if titles is None else titles
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": description}):  # ids of two plots on one page must differ
        sheet.figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    width, height = (72 * float(side) for side in sheet.figure.get_size_inches())

    def group(match: re.Match[str]) -> str:
        kind, number = match[1], int(match[2])
        title = f"<title>{html.escape(titles[number])}</title>" if number < len(titles) else ""
        return f'<g class="{kind}" data-point="{number}">{title}'

    body = re.sub(r'<g id="(point|line)-(\d+)">', group, body)
    body = re.sub(r' id="[A-Za-z_.0-9]+_\d+"', "", body)  # figure_1, axes_1, ... occur in every plot
    body = body.replace("xlink:href", "href").replace("'DejaVu Sans', sans-serif", "var(--sans)")
    for ink, name in ((INK, "ink"), (MUTED, "muted"), (RULE, "rule"), (PAPER, "paper")):
        body = body.replace(ink, f"var(--{name})")
    body = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", r"\1: color-mix(in oklab, \2, white var(--lift))", body)
    name = html.escape(description, quote=True)
    return Markup(
        f'<svg role="img" aria-label="{name}" viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}pt">{body}'
    )

"""Numbers as people write them, in reports, tables and progress."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def over_folds(values: Sequence[float]) -> str:
    """Mean and sample standard deviation over the folds, 0.0123 ± 0.0045; of a single fold its value alone."""
    mean = number(float(np.mean(values)))
    return f"{mean} ± {short(float(np.std(values, ddof=1)))}" if len(values) > 1 else mean


def number(value: float) -> str:
    """A measured value with three decimals, more for the small and none for the large: 0.735, 0.0473, 98,304."""
    size = abs(value)
    text = f"{value:,.0f}" if size >= 1000 else f"{value:.3f}" if size >= 0.1 else f"{value:.3g}" if size else "0"
    return text.replace("-", "\u2212")


def surely(value: float, deviation: float | None) -> str:
    """A measured value with its deviation, 0.735 ± 0.02; alone where that is not known."""
    return number(value) + ("" if deviation is None else f" ± {short(deviation)}")


def short(value: float) -> str:
    """A value as one says it in a sentence, with two or three digits: 0.73, 0.1, 12, 158."""
    size = abs(value)
    return (f"{value:,.0f}" if size >= 100 else f"{value:.3g}" if size >= 1 else f"{value:.2g}").replace("-", "\u2212")


def seconds(value: float) -> str:
    """A duration as people say it: 4.2 s, 42 s, 2 min 38 s, 3 h 05 min."""
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listed(items: Sequence[str]) -> str:
    """The items in a sentence: a, b and c."""
    return " and ".join(part for part in (", ".join(items[:-1]), *items[-1:]) if part)


def fact(value: object) -> str:
    """A setting or fact: numbers as people write them, all else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else short(value)


def count(value: float) -> str:
    """A measured value, or a count as a whole number."""
    return f"{value:,.0f}" if value >= 1 and value == int(value) else number(value)


def memory(size: int) -> str:
    """Bytes as people read them: 812 MiB, 2.1 GiB."""
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"

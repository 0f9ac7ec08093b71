"""Numbers of the command line: what is expected of them, and how they are shown."""

from decimal import ROUND_FLOOR, Context
from math import isfinite

from instances.errors import InputError


def check_numbers(time_limit: float, gap: float, seed: int, threads: int | None) -> None:
    """Raise InputError with one line for the first option out of range."""
    if not (isfinite(time_limit) and time_limit >= 0):
        raise InputError(f"--time-limit {time_limit:g}: expected seconds, 0 or more")
    if not (isfinite(gap) and gap >= 0):
        raise InputError(f"--gap {gap:g}: expected a relative gap, 0 or more")
    if seed < 0:
        raise InputError(f"--seed {seed}: expected a whole number, 0 or more")
    if threads is not None and threads < 1:
        raise InputError(f"--threads {threads}: expected a whole number, 1 or more")


def check_amounts(samples: int, sequence_length: int) -> None:
    """Raise InputError with one line for the first option out of range."""
    for name, value in (("--samples", samples), ("--sequence-length", sequence_length)):
        if value < 1:
            raise InputError(f"{name} {value}: expected a whole number, 1 or more")


def number(value: float | None) -> str:
    """Eight significant digits; '-' for None."""
    return "-" if value is None else f"{value:.8g}"


def rounded_down(value: float) -> str:
    """Eight significant digits, never above the value: a bound shown as 4 is at least 4."""
    return f"{Context(prec=8, rounding=ROUND_FLOOR).create_decimal_from_float(value).normalize():g}"

"""Numbers of the command line: what is expected of them, and how they are shown.

A number shown is never better than the number meant: bounds are rounded down, losses and gaps up.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from math import isfinite

from maskgap.instances.errors import InputError

DIGITS = 8

UNSEEN_PERCENT = 1e-4
"""A gap of 1e-6, at which a row is closed, is shown as 0.00%."""

MOST_GAP = 1.0
"""A relative gap is at most this: a tolerance beyond it would call everything proved."""

LEAST_MOST_THREADS = 64
"""So many threads may be asked for on any machine, and a few for each of its cores."""

THREADS_PER_CORE = 4


def check_numbers(time_limit: float, gap: float, seed: int, threads: int | None) -> None:
    """Raise InputError with one line for the first option out of range."""
    if not (isfinite(time_limit) and time_limit >= 0):
        raise InputError(f"--time-limit {time_limit:g}: expected seconds, 0 or more")
    if not 0 <= gap < MOST_GAP:
        raise InputError(f"--gap {gap:g}: expected a relative gap, 0 or more and less than 1")
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}: expected a whole number, 0 or more and less than 2^63")
    if threads is not None:
        from maskgap.benchmarks.runs.environment import cores

        most = max(LEAST_MOST_THREADS, THREADS_PER_CORE * cores())
        if not 1 <= threads <= most:
            raise InputError(f"--threads {threads}: expected a whole number, 1 to {most}")


def check_total_gap(gap: float | None) -> None:
    """Raise InputError for a gap of a whole layer that is out of range."""
    if gap is not None and not 0.0 <= gap < MOST_GAP:
        raise InputError(f"--total-gap {gap:g}: expected a relative gap, 0 or more and less than 1")


def check_amounts(samples: int, sequence_length: int) -> None:
    """Raise InputError with one line for the first option out of range."""
    for name, value in (("--samples", samples), ("--sequence-length", sequence_length)):
        if value < 1:
            raise InputError(f"{name} {value}: expected a whole number, 1 or more")


def at_most(value: float | None) -> str:
    """A loss in eight significant digits, rounded up; '-' for None."""
    return _rounded(value, ROUND_CEILING)


def at_least(value: float | None) -> str:
    """A bound in eight significant digits, rounded down; '-' for None."""
    return _rounded(value, ROUND_FLOOR)


def percent(gap: float | None) -> str:
    """A relative gap in hundredths of a percent, rounded up beyond rounding; '-' for None."""
    if gap is None:
        return "-"
    shown = max(0.0, gap * 100 - UNSEEN_PERCENT)
    return f"{Decimal(shown).quantize(Decimal('0.01'), ROUND_CEILING)}%"


def _rounded(value: float | None, rounding: str) -> str:
    if value is None:
        return "-"
    if not isfinite(value):
        return f"{value:g}"
    return f"{float(Context(DIGITS, rounding).create_decimal_from_float(value)):.{DIGITS}g}"

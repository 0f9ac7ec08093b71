"""Instances by family, seed and size as `boscia_runs.csv` names them."""

import re
from collections.abc import Callable
from functools import partial

from maskgap.instances.errors import InputError
from maskgap.instances.sources.published import own
from maskgap.instances.sources.published.instance import Instance
from maskgap.instances.sources.published.logistic import sparse_logistic
from maskgap.instances.sources.published.portfolio import portfolio
from maskgap.instances.sources.published.regression import sparse_regression, tailed_cardinality

FAMILIES: dict[str, Callable[[int, int], Instance]] = {
    "sparse_reg": sparse_regression,
    "portfolio_integer": portfolio,
    "portfolio_mixed": partial(portfolio, mixed=True),
    "tailed_cardinality": tailed_cardinality,
}
"""Families whose published values are met by what is generated here."""

LOGISTIC = "sparse_log_reg"
"""Its values are met as well, on the cases that tests solve; the sweep of runs leaves it out."""

_LOGISTIC_SIZE = re.compile(r"dimension=(\d+);var_A=(\d+);M=(\d+\.\d+)")

_SIZE = re.compile(r"(?:.*;)?(?:dimension|m0)=(\d+)")


def instance(family: str, seed: int, size: str) -> Instance:
    """The instance of a family of FAMILIES, of `own.KINDS`, or of `sparse_log_reg`.

    size: `dimension=N`, or `n0=..;m0=M`, of the last `dimension=N;var_A=V;M=R`. Raises InputError
    for a name or size of another form.
    """
    if family == LOGISTIC:
        told = _LOGISTIC_SIZE.fullmatch(size)
        if told is None:
            raise InputError(f"size '{size}': expected dimension=N;var_A=V;M=R")
        return sparse_logistic(seed, int(told[1]), float(told[2]), float(told[3]))
    found = _SIZE.fullmatch(size)
    if found is None:
        raise InputError(f"size '{size}': expected dimension=N or n0=N;m0=M")
    if family in own.KINDS:
        return own.own(family, seed, int(found[1]))
    if family not in FAMILIES:
        known = ", ".join([*FAMILIES, LOGISTIC, *own.KINDS])
        raise InputError(f"family '{family}': there are {known}")
    return FAMILIES[family](seed, int(found[1]))

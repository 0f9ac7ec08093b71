"""Instances by family, seed and size as `boscia_runs.csv` names them."""

import re
from collections.abc import Callable
from functools import partial

from maskgap.instances.errors import InputError
from maskgap.instances.sources.published import own
from maskgap.instances.sources.published.instance import Instance
from maskgap.instances.sources.published.portfolio import portfolio
from maskgap.instances.sources.published.regression import sparse_regression, tailed_cardinality

FAMILIES: dict[str, Callable[[int, int], Instance]] = {
    "sparse_reg": sparse_regression,
    "portfolio_integer": portfolio,
    "portfolio_mixed": partial(portfolio, mixed=True),
    "tailed_cardinality": tailed_cardinality,
}
"""Families whose published values are met by what is generated here."""

_SIZE = re.compile(r"(?:.*;)?(?:dimension|m0)=(\d+)")


def instance(family: str, seed: int, size: str) -> Instance:
    """The instance of a family of FAMILIES, or of `own.KINDS`.

    size: `dimension=N`, or `n0=..;m0=M`. Raises InputError for a name or size of another form.
    """
    found = _SIZE.fullmatch(size)
    if found is None:
        raise InputError(f"size '{size}': expected dimension=N or n0=N;m0=M")
    if family in own.KINDS:
        return own.own(family, seed, int(found[1]))
    if family not in FAMILIES:
        raise InputError(f"family '{family}': there are {', '.join([*FAMILIES, *own.KINDS])}")
    return FAMILIES[family](seed, int(found[1]))

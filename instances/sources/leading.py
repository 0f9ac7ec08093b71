"""The leading columns of a shipped layer while later ones are free: SparseGPT's first block.

    leading:value1-n384,columns=64

With H the Gram with the usual ridge, B the leading columns and R the rest, weights x that may
change everywhere, x_R without any zero asked of it, lose

    min over x_R of (x - w)^T H (x - w) = (x_B - w_B)^T S (x_B - w_B),
    S = H_BB - H_BR H_RR^-1 H_RB = ((H^-1)_BB)^-1.

That is what SparseGPT (arXiv 2301.00774) has before it when it chooses the mask of its first block
of columns. Here it is the layer W[:, B] with Gram S, of whose rows the objective refit with ridge 0
is that choice, done exactly: the ridge is within S. S is rounded to float32, which moves no
eigenvalue past the ridge, so that one name gives one layer wherever it is computed. What is lost on
other text depends on x_R too, so there is no held-out Gram.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from maskgap.instances.errors import InputError
from maskgap.instances.formats import files
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import Layer
from maskgap.instances.objective import DEFAULT_RIDGE
from maskgap.instances.sources import shipped
from maskgap.instances.sources.families import keyed_numbers

PREFIX = "leading:"


@dataclass(frozen=True, slots=True)
class Leading:
    """The first `columns` columns of the shipped layer `source`."""

    source: str
    columns: int

    def layer(self) -> Layer:
        """All rows of the block. Raises InputError for a name or a size that is not there."""
        whole = files.read_layer(shipped.path(self.source))
        if not 0 < self.columns < whole.d_in:
            raise InputError(
                f"{PREFIX}{self.source}: columns={self.columns} is not 1 to {whole.d_in - 1}"
            )
        hessian = Hessian.of(whole, DEFAULT_RIDGE)
        block, rest = range(self.columns), range(self.columns, whole.d_in)
        beside = hessian.block(rest, block)  # (|R|, |B|)
        factor = scipy.linalg.cho_factor(hessian.block(rest, rest), lower=True)
        freed = hessian.block(block, block) - beside.T @ scipy.linalg.cho_solve(factor, beside)
        return Layer.from_arrays(
            whole.weight[:, : self.columns],
            ((freed + freed.T) / 2.0).astype(np.float32),
            meta={"leading_of": whole.digest, "ridge_within": repr(DEFAULT_RIDGE)},
            name=f"{PREFIX}{self.source},columns={self.columns}",
        )


def parse_leading(text: str) -> Leading:
    """Read `leading:NAME,columns=B`. Raises InputError."""
    source, _, rest = text.removeprefix(PREFIX).partition(",")
    numbers = keyed_numbers(f"{PREFIX}{rest}", PREFIX, ("columns",))
    if "columns" not in numbers:
        raise InputError(f"'{text}' does not say how many columns: {PREFIX}NAME,columns=B")
    return Leading(source, numbers["columns"])

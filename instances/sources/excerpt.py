"""Blocks of shipped layers named by text, with seeded costs or forced entries where they are asked.

    cut:value4-n48,rows=8,columns=8,seed=1,costs=8,forced=10

rows, columns: drawn without replacement (`instances.sources.cut`); all when left out. costs=C: a
cost for each column, uniform on 1 to C. forced=P: P % of the entries are forced, to be kept or
pruned with equal chance. The same text gives the same layer.
"""

from dataclasses import dataclass, replace

import numpy as np

from maskgap.instances.errors import InputError
from maskgap.instances.formats import files
from maskgap.instances.layer import Layer
from maskgap.instances.sources import shipped
from maskgap.instances.sources.cut import Block
from maskgap.instances.sources.families import keyed_numbers

PREFIX = "cut:"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A block of a shipped layer. costs, forced: see above, 0 for none."""

    source: str
    rows: int | None = None
    columns: int | None = None
    seed: int = 0
    costs: int = 0
    forced: int = 0

    def layer(self) -> Layer:
        """The block. Raises InputError for a name or a size that is not there."""
        if not 0 <= self.forced <= 100:
            raise InputError(f"{PREFIX}{self.source}: forced={self.forced} is not 0 to 100")
        whole = files.read_layer(shipped.path(self.source))
        rows, columns = self.rows or whole.d_out, self.columns or whole.d_in
        name = f"{PREFIX}{self.source}"
        block = Block(name, self.source, rows, columns, self.seed).cut(whole)
        random = np.random.default_rng([self.seed, 1])
        if self.costs:
            block = replace(block, column_cost=random.integers(1, self.costs + 1, columns))
        if self.forced:
            chosen = random.random((rows, columns)) < self.forced / 100
            sign = np.where(random.random((rows, columns)) < 0.5, 1, -1)
            block = replace(block, forced=np.where(chosen, sign, 0).astype(np.int8))
        return block


def parse_excerpt(text: str) -> Excerpt:
    """Read `cut:NAME,key=value,...`. Raises InputError."""
    source, _, rest = text.removeprefix(PREFIX).partition(",")
    known = ("rows", "columns", "seed", "costs", "forced")
    return Excerpt(source, **keyed_numbers(f"{PREFIX}{rest}", PREFIX, known))

"""What is known of one of the rows that share a budget."""

from dataclasses import dataclass, field

import numpy as np

from maskgap.benchmarks.verify.objective import Loss
from maskgap.instances.arrays import Kept, Vector
from maskgap.instances.formats.evidence.shared_budget import RowProof


@dataclass(eq=False, repr=False)
class SharedRow:
    """What is known of a row. mask: (n,), or None. loss: of it, None without one.

    proofs: with their curves b(k) (n + 1,).
    """

    row: int
    mask: Kept | None = None
    loss: Loss | None = None
    proofs: list[tuple[RowProof, Vector]] = field(default_factory=list)

    def __repr__(self) -> str:
        loss = "no mask" if self.loss is None else f"loss {self.loss.value:.6g}"
        return f"SharedRow(row {self.row}, {loss}, {len(self.proofs)} proofs)"

    def curve(self, n: int) -> Vector:
        """(n + 1,) the highest of its proofs' bounds under each budget; 0 without any."""
        curves = [np.zeros(n + 1), *(curve for _, curve in self.proofs)]
        return np.asarray(np.max(curves, axis=0))

    def prune(self) -> None:
        """Leave out the proofs whose curve is nowhere the highest."""
        if len(self.proofs) > 1:
            best = np.argmax([curve for _, curve in self.proofs], axis=0)
            self.proofs = [self.proofs[i] for i in sorted(set(best.tolist()))]

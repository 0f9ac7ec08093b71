"""The cost matrices of a batch of rows, as one operator.

With s = 2 z - 1, the loss of a row is <C, (1, s)(1, s)^T>, 4 C = [e^T Q e, e^T Q; Q e, Q] and
Q = diag(w) R diag(w). No C is formed: for vectors V = (v_0, ..., v_n) of a row,

    4 (C V)_i = w_i (R (w * V))_i + (Q e)_i v_0,       4 (C V)_0 = sum of (Q e)_i v_i + e^T Q e v_0,

so that all rows share one product of R with a matrix of n rows. Tensors of vectors are (n + 1,
rows, rank), those of numbers (n + 1, rows) or (n, rows).
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Costs:
    """gram: R (n, n). weight: w (n, rows). border: Q e / 4 (n, rows). corner: e^T Q e / 4 (rows,).

    length: (n + 1, rows), the norms of the rows of C.
    """

    gram: torch.Tensor
    weight: torch.Tensor
    border: torch.Tensor
    corner: torch.Tensor
    length: torch.Tensor

    @staticmethod
    def of(gram: torch.Tensor, weight: torch.Tensor) -> "Costs":
        """The costs of weights (n, rows) under one gram (n, n), of one dtype."""
        border = 0.25 * weight * (gram @ weight)
        corner = border.sum(dim=0)
        inner = weight.square() * (gram.square() @ weight.square()) / 16.0 + border.square()
        first = corner.square() + border.square().sum(dim=0)
        length = torch.cat([first[None], inner]).sqrt()
        return Costs(gram, weight, border, corner, length)

    def diagonal(self) -> torch.Tensor:
        """(n + 1, rows) the diagonal of C."""
        own = 0.25 * self.weight.square() * self.gram.diagonal()[:, None]
        return torch.cat([self.corner[None], own])

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.weight.shape[1]

    def times(self, vectors: torch.Tensor) -> torch.Tensor:
        """C V (n + 1, rows, rank) of V alike."""
        inner, first = vectors[1:], vectors[0]
        scaled = self.weight[:, :, None] * inner
        image = (self.gram @ scaled.reshape(len(scaled), -1)).reshape(scaled.shape)
        out = vectors.new_empty(vectors.shape)
        torch.mul(image, 0.25 * self.weight[:, :, None], out=out[1:])
        out[1:].addcmul_(self.border[:, :, None], first[None])
        out[0] = self.corner[:, None] * first + (self.border[:, :, None] * inner).sum(dim=0)
        return out

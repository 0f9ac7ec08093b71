"""The budget rows of a batch: penalties, multipliers, and the space on which they hold.

With s = 2 z - 1, the budget of a group g of some columns of which k are pruned reads a_g . (1, s) =
0 with a_g = (size - 2 k, e_g), and Y a_g = 0 for Y = V V^T says V^T a_g = 0. The method adds

    sum over g of  rho |V^T a_g|^2  +  alpha_g^T V V^T a_g

to <C, V V^T>. At a minimiser, multipliers that take the whole load are alpha_g + 2 rho V
(V^T V)^-1 V^T a_g: the least change with the same gradient. They reach the value of the relaxation
itself, and leave the penalty small, on which the speed of the method depends; a row's is raised
where what its budgets miss does not fall by itself. They take (n + 1) groups numbers a row.
"""

import torch

from maskgap.instances.masks.groups import BudgetGroups

PENALTY_OF_ROW = 0.03
"""Penalty of a budget of the whole row, in units of the mean absolute row sum of Q over n.

Of 0.003 to 1, the best at n = 384, 576 and 1536.
"""

PENALTY_OF_GROUP = 1.0
"""Penalty of one of several budgets, in units of the mean diagonal of Q."""

FALL = 0.3
"""What budgets miss is to fall to this share each time; RAISE: the penalty is raised by else."""

RAISE = 3.0
MISSED = 1e-3
"""What may be missed, as a share of the norm of V."""

RIDGE = 1e-9
"""Added to V^T V, in units of its trace."""


class Budgets:
    """The rows of some equal groups, for each row of a batch.

    penalty: rho (rows,). alpha: (rows, groups, n + 1). first: (groups, rows), the entry of index 0.
    left_out: (n, rows) columns that are kept beforehand and count in no budget; None for none.
    """

    def __init__(
        self, groups: BudgetGroups, penalty: torch.Tensor, left_out: torch.Tensor | None = None
    ) -> None:
        self.groups = groups
        self.penalty = penalty
        self._counted = None
        size = penalty.new_full((groups.count, len(penalty)), float(groups.size))
        if left_out is not None and bool(left_out.any()):
            self._counted = (~left_out).to(penalty.dtype)
            size = self._sums(torch.ones_like(self._counted))
        self.size = size
        self.first = size - 2.0 * groups.pruned
        self.alpha = penalty.new_zeros((len(penalty), groups.count, groups.n + 1))
        self._missed = torch.full_like(penalty, torch.inf)

    def _sums(self, inner: torch.Tensor) -> torch.Tensor:
        """(groups, ...) sums of (n, ...) over the columns of each group that count."""
        if self._counted is not None:
            inner = inner * self._counted.reshape(*self._counted.shape, *[1] * (inner.ndim - 2))
        return inner.reshape(self.groups.count, self.groups.size, *inner.shape[1:]).sum(dim=1)

    def forms(self, vectors: torch.Tensor) -> torch.Tensor:
        """V^T a_g, (groups, rows, rank) of V (n + 1, rows, rank)."""
        return self._sums(vectors[1:]) + self.first[:, :, None] * vectors[0]

    def counted(self, vectors: torch.Tensor) -> torch.Tensor:
        """V (n + 1, rows, rank) with 0 for columns that are left out."""
        if self._counted is None:
            return vectors
        return torch.cat([vectors[:1], vectors[1:] * self._counted[:, :, None]])

    def _spread(self, out: torch.Tensor, pull: torch.Tensor) -> None:
        """Add pull (groups, rows, ...) to the columns of each group in out (n + 1, rows, ...)."""
        if self._counted is not None:
            wide = pull.repeat_interleave(self.groups.size, dim=0)
            out[1:] += wide * self._counted.reshape(*self._counted.shape, *[1] * (pull.ndim - 2))
            return
        out[1:].view(self.groups.count, self.groups.size, *pull.shape[1:]).add_(pull[:, None])

    def add_to(self, out: torch.Tensor, vectors: torch.Tensor) -> None:
        """Add the gradient of both terms, halved, at V to out (n + 1, rows, rank)."""
        forms = self.forms(vectors)
        pull = self.penalty[:, None] * forms
        pull += 0.5 * (self.alpha @ vectors.transpose(0, 1)).transpose(0, 1)
        out += 0.5 * (self.alpha.transpose(1, 2) @ forms.transpose(0, 1)).transpose(0, 1)
        self._spread(out, pull)
        out[0] += (self.first[:, :, None] * pull).sum(dim=0)

    def lengths(self) -> torch.Tensor:
        """(n + 1, rows) no less than the norms of the rows of the matrices of both terms."""
        norm = (self.size + self.first.square()).sqrt().T  # (rows, groups)
        wide = self.alpha.abs()
        pull = norm * self.penalty[:, None] + 0.5 * wide.norm(dim=2)
        out = 0.5 * (norm[:, :, None] * wide).sum(dim=1)  # (rows, n + 1)
        out[:, 1:] += pull.repeat_interleave(self.groups.size, dim=1)
        out[:, 0] += (self.first.T.abs() * pull).sum(dim=1)
        lengths: torch.Tensor = out.T.contiguous()
        return lengths

    def move_load(self, vectors: torch.Tensor) -> None:
        """Have the multipliers take what the penalty holds at V (n + 1, rows, rank)."""
        exact = vectors.to(torch.float64).transpose(0, 1)  # (rows, n + 1, rank)
        inner = exact.transpose(1, 2) @ exact
        inner.diagonal(dim1=1, dim2=2).add_(RIDGE * exact.shape[1])
        forms = self.forms(exact.transpose(0, 1)).permute(1, 2, 0)  # (rows, rank, groups)
        moved = exact @ torch.linalg.solve(inner, forms)
        moved = 2.0 * self.penalty[:, None, None] * moved.transpose(1, 2)
        self.alpha += moved.to(self.alpha.dtype)
        missed = forms.square().sum(dim=(1, 2)).sqrt().to(self.penalty.dtype)
        slow = (missed > FALL * self._missed) & (missed > MISSED * exact.shape[1] ** 0.5)
        self.penalty = torch.where(slow, RAISE * self.penalty, self.penalty)
        self._missed = missed

    def project(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Take off x (n + 1, rows, rank) its part in the span of scale * a_g, scale (n + 1, rows).

        The rows a_g are orthogonal but for index 0, which all have: Sherman and Morrison.
        """
        first = self.first.to(x.dtype) * scale[0]  # (groups, rows)
        own = self._sums(scale[1:].square())
        part = self._sums(scale[1:, :, None] * x[1:]) + first[:, :, None] * x[0]
        part = part / own[:, :, None]
        share = (first[:, :, None] * part).sum(dim=0) / (1.0 + (first.square() / own).sum(dim=0))[
            :, None
        ]
        part = part - (first / own)[:, :, None] * share
        off = torch.zeros_like(x)
        self._spread(off, part)
        off[0] = (first[:, :, None] * part).sum(dim=0) / scale[0][:, None]
        return x - scale[:, :, None] * off


def penalties(groups: BudgetGroups, gram: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Penalties (rows,) for weights (n, rows) of mean square 1, gram (n, n) of unit diagonal."""
    if groups.count > 1:
        return torch.full_like(weight[0], PENALTY_OF_GROUP)
    wide = weight.abs()
    return PENALTY_OF_ROW / groups.n * (wide * (gram.abs() @ wide)).mean(dim=0)

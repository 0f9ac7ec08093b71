"""Tableaus of many rows in torch: the same exchanges as `refit_swap.tableau`, all rows in step.

The tableau of a row, there and here, is the symmetric matrix M (n + 1, n + 1) whose columns of kept
weights have been swept. Here it is kept whole, rows of a layer one behind the other, and all keep
as many columns. With u the column of i (to be kept), d = u_i, v that of j (to be pruned) once i is
swept, e = v_j, an exchange is one product of rank two,

    M <- M - u u^T / d - v v^T / e,

and two columns are written. All pairs of a group cost some passes over its columns of M. Nothing is
rounded to less than the type of the numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from maskgap.instances.errors import Refused


@dataclass(frozen=True, eq=False)
class Exchange:
    """The best exchange of each row: change (rows,) of the loss, column j to prune, i to keep."""

    change: Tensor
    j: Tensor
    i: Tensor

    def take(self, index: Tensor) -> "Exchange":
        """Those of some rows."""
        return Exchange(self.change[index], self.j[index], self.i[index])


class Tableaus:
    """Tableaus of some rows. hessian: (n, n). target: (rows, n). kept: (rows, n) bool.

    size: columns of a budget group; all groups keep as many. table: (rows, n + 1, n + 1), of the
    type of hessian and target.
    """

    def __init__(self, hessian: Tensor, target: Tensor, kept: Tensor, size: int) -> None:
        self.hessian, self.target, self.kept, self.size = hessian, target, kept, size
        self.table = fresh(hessian, target, kept)

    def __len__(self) -> int:
        return len(self.kept)

    def take(self, index: Tensor) -> None:
        """Go on with some rows alone."""
        self.target, self.kept = self.target[index], self.kept[index]
        self.table = self.table[index]

    def refresh(self, index: Tensor) -> None:
        """Make the tableaus of some rows afresh from their masks."""
        self.table[index] = fresh(self.hessian, self.target[index], self.kept[index])

    def losses(self) -> Tensor:
        """(rows,) losses, with the drift since a tableau was made."""
        return self.table[:, -1, -1]

    def best(self, index: Tensor, tile: int) -> Exchange:
        """The best exchange within groups of some rows. tile: numbers formed at once, about."""
        n = self.kept.shape[1]
        at_once = max(1, tile // (n * self.size))
        parts = [self._best(index[s : s + at_once]) for s in range(0, len(index), at_once)]
        return Exchange(*(torch.cat([getattr(p, f) for p in parts]) for f in ("change", "j", "i")))

    def _best(self, index: Tensor) -> Exchange:
        n, size = self.kept.shape[1], self.size
        groups = n // size
        table, kept = self.table[index] if len(index) < len(self) else self.table, self.kept[index]
        diagonal = table.diagonal(dim1=1, dim2=2)[:, :n]
        last = table[:, :n, n]
        x = torch.where(kept, last, torch.inf).view(-1, groups, size, 1)
        b = torch.where(kept, -diagonal, 1.0).view(-1, groups, size, 1)
        step = torch.where(kept, 0.0, last / diagonal)
        gain = torch.where(kept, -torch.inf, step * last).view(-1, groups, 1, size)
        inverse = torch.where(kept, 0.0, 1.0 / diagonal).view(-1, groups, 1, size)
        # the square of each group on the diagonal: (rows, groups, size, size), a view
        blocks = table[:, :n, :n].view(-1, groups, size, groups, size)
        cross = blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        change = (cross * step.view(-1, groups, 1, size)).neg_().add_(x).square_()
        change /= (cross * cross).mul_(inverse).add_(b)
        change -= gain
        least, place = change.flatten(1).min(dim=1)
        group, pair = place // (size * size), place % (size * size)
        return Exchange(least, group * size + pair // size, group * size + pair % size)

    def exchange(self, index: Tensor, j: Tensor, i: Tensor) -> None:
        """Prune column j and keep column i of some rows, given by their numbers in order."""
        every = torch.arange(len(index), device=index.device)
        u, v = self.table[index, :, i], self.table[index, :, j]
        d = u[every, i]
        share = u[every, j] / d
        v = v - u * share[:, None]
        v[every, i] = share
        e = v[every, j]
        for vector in (u, v):
            vector[every, i] = 0.0
            vector[every, j] = 0.0
        one, other = u / d[:, None], v / e[:, None]
        left, right = torch.stack((one, other), 2), torch.stack((u, v), 1)
        if len(index) == len(self):
            self.table.baddbmm_(left, right, alpha=-1.0)
        else:
            rows = len(self), *left.shape[1:]
            all_left, all_right = left.new_zeros(rows), right.new_zeros(rows[0], 2, rows[1])
            all_left[index], all_right[index] = left, right
            self.table.baddbmm_(all_left, all_right, alpha=-1.0)
        to_i, to_j = one - other * share[:, None], v / e.abs()[:, None]
        to_i[every, i] = -1.0 / d - share * share / e
        to_i[every, j] = to_j[every, i] = share / e.abs()
        to_j[every, j] = -1.0 / e
        for column, values in ((i, to_i), (j, to_j)):
            self.table[index, :, column] = values
            self.table[index, column, :] = values
        self.kept[index, i], self.kept[index, j] = True, False


def fresh(hessian: Tensor, target: Tensor, kept: Tensor) -> Tensor:
    """Tableaus (rows, n + 1, n + 1) of masks (rows, n) that all keep as many columns.

    Some n^3 operations each.
    Raises Refused where H is not definite in the type of its numbers.
    """
    rows, n = kept.shape
    stay = int(kept[0].sum())
    order = torch.argsort((~kept).to(torch.int8), dim=1, stable=True)
    ours, others = order[:, :stay], order[:, stay:]
    paid = target.gather(1, others)
    table = hessian.new_empty(rows, n + 1, n + 1)
    schur = hessian[others[:, :, None], others[:, None, :]]
    weights = target.gather(1, ours)
    if stay:
        lower = _factor(hessian[ours[:, :, None], ours[:, None, :]])
        across = hessian[ours[:, :, None], others[:, None, :]]
        moves = torch.cholesky_solve(across, lower)
        schur.baddbmm_(across.mT, moves, alpha=-1.0)
        weights = weights + torch.bmm(moves, paid[:, :, None])[:, :, 0]
        table[:, :stay, :stay] = -torch.cholesky_inverse(lower)
        table[:, :stay, stay:n], table[:, stay:n, :stay] = moves, moves.mT
    residual = torch.bmm(schur, paid[:, :, None])[:, :, 0]
    table[:, stay:n, stay:n] = schur
    last = torch.cat((weights, residual, (paid * residual).sum(1, keepdim=True)), 1)
    table[:, n], table[:, :, n] = last, last
    place = torch.full((rows, n + 1), n, device=kept.device)
    place[:, :n] = torch.argsort(order, dim=1)
    table = table.gather(1, place[:, :, None].expand(rows, n + 1, n + 1))
    return table.gather(2, place[:, None, :].expand(rows, n + 1, n + 1))


def exact_losses(hessian: Tensor, target: Tensor, kept: Tensor) -> Tensor:
    """(rows,) losses of masks that all keep as many columns, each by a Cholesky factor."""
    stay = int(kept[0].sum())
    order = torch.argsort((~kept).to(torch.int8), dim=1, stable=True)
    ours, others = order[:, :stay], order[:, stay:]
    paid = target.gather(1, others)[:, :, None]
    residual = torch.bmm(hessian[others[:, :, None], others[:, None, :]], paid)
    if stay:
        lower = _factor(hessian[ours[:, :, None], ours[:, None, :]])
        across = hessian[ours[:, :, None], others[:, None, :]]
        residual -= torch.bmm(across.mT, torch.cholesky_solve(torch.bmm(across, paid), lower))
    return (paid * residual).sum(dim=(1, 2)).clamp_min(0.0)


def _factor(matrix: Tensor) -> Tensor:
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):
        raise Refused(
            "the Hessian is singular on the columns that are kept, as far as "
            f"{str(matrix.dtype).removeprefix('torch.')} shows; use a larger --ridge"
        )
    return torch.as_tensor(lower)

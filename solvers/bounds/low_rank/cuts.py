"""Triangle inequalities of a batch of rows, with multipliers that are raised as they are violated.

An inequality c^T Y c >= 1 of three entries of +1 and -1 (`bounds.triangles`) is |V^T c|^2 >= 1 for
Y = V V^T, so p = V^T c, a sum of three vectors, says how far it is met and where it pulls. In the
augmented Lagrangian with multiplier t >= 0 and slope b its pull is

    t' = max(0, t + b (1 - |p|^2)),         - t' c p^T     in the gradient, halved,

and t' is the next multiplier (Rockafellar, SIAM Journal on Control 12, 1974). Vectors of all rows
lie in one matrix, that of index i of row b at place i rows + b.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from maskgap.instances.arrays import Vector
from maskgap.solvers.bounds.triangles import Cuts, no_cuts, separate
from maskgap.solvers.kernels.jit import fast

SLACK = 0.05
"""An inequality of multiplier 0 that is met by more than this is let go."""


class CutPool:
    """The inequalities of all rows of a batch.

    place: (m, 3) int64, where the vectors lie. signs: (m, 3). weight: multipliers (m,). met: (m,)
    |p|^2 as of the last `update`. slope: (rows,) b of each row; 0: its multipliers are held.
    """

    def __init__(self, rows: int, like: torch.Tensor) -> None:
        self.rows = rows
        self.place = torch.zeros((0, 3), dtype=torch.int64, device=like.device)
        self.signs = like.new_zeros((0, 3))
        self.weight = like.new_zeros(0)
        self.met = like.new_zeros(0)
        self.slope = like.new_zeros(rows)
        self._sum, self._count = self.weight, 0

    def __len__(self) -> int:
        return len(self.weight)

    def of_row(self, row: int) -> tuple[Cuts, Vector]:
        """The inequalities of a row and their multipliers, float64."""
        place = self.place.cpu().numpy()
        mine = place[:, 0] % self.rows == row
        signs, weight = self.signs.cpu().numpy()[mine], self.weight.cpu().numpy()[mine]
        return Cuts(place[mine] // self.rows, _apex(signs)), weight.astype(np.float64)

    def find(self, vectors: torch.Tensor, most: int, least: float) -> None:
        """Add at most `most` violated inequalities a row."""
        places, signs = [], []
        for row in range(self.rows):
            own = vectors[:, row].to(torch.float64)
            new = separate((own @ own.T).cpu().numpy(), self.of_row(row)[0], most, least)
            places.append(new.index * self.rows + row)
            signs.append(new.signs)
        count = sum(len(p) for p in places)
        if count:
            place = torch.as_tensor(np.concatenate(places), device=self.place.device)
            self.place = torch.cat([self.place, place])
            self.signs = torch.cat(
                [self.signs, torch.as_tensor(np.concatenate(signs)).to(self.signs)]
            )
            self.weight = torch.cat([self.weight, self.weight.new_zeros(count)])
            self.met = torch.cat([self.met, self.met.new_zeros(count)])

    @property
    def slopes(self) -> torch.Tensor:
        """(m,) the slope of each."""
        return self.slope[self.place[:, 0] % self.rows]

    @property
    def no_slopes(self) -> torch.Tensor:
        """(m,) zeros: the multipliers are held."""
        return torch.zeros_like(self.weight)

    def pull(self, vectors: torch.Tensor, slopes: torch.Tensor, out: torch.Tensor) -> None:
        """Take the pulls at V off out; both (n + 1, rows, rank). slopes: (m,)."""
        if not len(self):
            return
        flat, target = vectors.reshape(-1, vectors.shape[2]), out.view(-1, out.shape[2])
        if flat.device.type == "cpu":
            arrays = (flat, self.place, self.signs, self.weight, slopes, target)
            _pull(*(array.numpy() for array in arrays))
            return
        p = self._products(flat)
        strength = (self.weight + slopes * (1.0 - p.square().sum(dim=1))).clamp_min(0.0)
        p = p * strength[:, None]
        for corner in range(3):
            target.index_add_(0, self.place[:, corner], -self.signs[:, corner, None] * p)

    def _products(self, flat: torch.Tensor) -> torch.Tensor:
        """The p of each, (m, rank)."""
        return sum(
            (self.signs[:, corner, None] * flat[self.place[:, corner]] for corner in range(3)),
            flat.new_zeros(()),
        )

    def update(self, vectors: torch.Tensor) -> None:
        """Take the next multipliers."""
        if len(self):
            self.met = self._products(vectors.reshape(-1, vectors.shape[2])).square().sum(dim=1)
            self.weight = (self.weight + self.slopes * (1.0 - self.met)).clamp_min(0.0)
            if self._count:
                self._sum, self._count = self._sum + self.weight, self._count + 1

    def begin_mean(self) -> None:
        """Take the mean of the multipliers from here on."""
        self._sum, self._count = self.weight, 1

    def end_mean(self) -> None:
        """Put the mean of the multipliers in their place: the bound is concave in them."""
        if self._count:
            self.weight, self._count = self._sum / self._count, 0

    def let_go(self) -> None:
        """Drop inequalities that pull nothing."""
        self._keep((self.weight > 0.0) | (self.met < 1.0 + SLACK))

    def _keep(self, keep: torch.Tensor) -> None:
        self.place, self.signs = self.place[keep], self.signs[keep]
        self.weight, self.met = self.weight[keep], self.met[keep]

    def loads(self, order: int, share: float) -> torch.Tensor:
        """(order, rows) three times the multipliers and a share of the slopes at each index."""
        flat = self.weight.new_zeros(order * self.rows)
        flat.index_add_(
            0,
            self.place.reshape(-1),
            3.0 * (self.weight + share * self.slopes).repeat_interleave(3),
        )
        return flat.reshape(order, self.rows)

    def sums(self) -> torch.Tensor:
        """(rows,) float64 sums of the multipliers."""
        out = torch.zeros(self.rows, dtype=torch.float64, device=self.weight.device)
        return out.index_add_(0, self.place[:, 0] % self.rows, self.weight.to(torch.float64))


def _apex(signs: NDArray[np.floating]) -> NDArray[np.int64]:
    """(m,) the position of the sign -1, -1 for none."""
    lowest = signs.argmin(axis=1)
    return np.where(signs.min(axis=1) < 0.0, lowest, -1).astype(np.int64)


@fast
def _pull(vectors, place, signs, weight, slopes, out):  # type: ignore[no-untyped-def]
    """As `CutPool.pull`."""
    rank = vectors.shape[1]
    p = np.empty(rank, vectors.dtype)
    for t in range(len(place)):
        a, b, c = place[t, 0], place[t, 1], place[t, 2]
        u, v, w = signs[t, 0], signs[t, 1], signs[t, 2]
        form = vectors.dtype.type(0.0)
        for k in range(rank):
            p[k] = u * vectors[a, k] + v * vectors[b, k] + w * vectors[c, k]
            form += p[k] * p[k]
        strength = weight[t] + slopes[t] * (vectors.dtype.type(1.0) - form)
        if strength > 0.0:
            for k in range(rank):
                q = strength * p[k]
                out[a, k] -= u * q
                out[b, k] -= v * q
                out[c, k] -= w * q


def warm_up() -> None:
    """Compile the kernel, or load it."""
    vectors = torch.zeros((3, 1, 2), dtype=torch.float32)
    pool = CutPool(1, vectors)
    pool.place = torch.tensor([[0, 1, 2]])
    pool.signs, pool.weight = vectors.new_ones((1, 3)), vectors.new_ones(1)
    pool.pull(vectors, pool.slopes, torch.zeros_like(vectors))
    separate(np.eye(3), no_cuts(), 1, 0.0)

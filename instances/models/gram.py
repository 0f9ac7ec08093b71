"""Streaming Gram matrices and means of the inputs of linear layers.

For inputs x_1 ... x_t of a layer, each of d_in features, the sums

    G = sum over real tokens of x x^T     (d_in, d_in)
    s = sum over real tokens of x         (d_in,),    E[x] = s / t

are float64. Tokens come in blocks of at most TOKENS. With c the mean of a block, rounded to eight
bits, or 0 in columns whose mean is not far from 0, and y = x - c,

    sum x x^T  =  sum y y^T  +  c s_y^T  +  s_y c^T  +  tokens c c^T,      s_y = sum y,

holds exactly for any c. The first term is a product in float32 where the inputs have no more
precision; all else, and the sum over blocks, is float64. So an entry is off by at most
gamma_TOKENS sqrt(Y_ii Y_jj), with gamma in float32 and Y the first term: 1e-8 to 5e-7 of
sqrt(G_ii G_jj) in practice, where the inputs themselves are results rounded to 6e-8. That is what
the use needs: what is certified is about the Gram as it is stored, and the door of a layer takes
one whose least eigenvalue is above -1e-5 of its trace. Centring keeps directions of little variance
beside a large mean. Float64 inputs, layers of less than NARROW columns, whose products cost little,
and blocks whose squares would leave the range of float32 are multiplied in float64.

Only block rows of the upper triangle are formed; the lower one is copied, so G is symmetric.
Padding is no data: the positions where the attention mask is 0 are dropped before the product.
Leading axes only count tokens, so an input of shape (d_in,), (tokens, d_in), (batch, tokens, d_in)
or more axes gives the same sum.

Memory: 8 d_in^2 bytes a layer, and a few copies of a block of inputs.
"""

import numpy as np
import torch

from maskgap.instances.arrays import Matrix, Vector

TOKENS = 1024
"""Tokens of a block: the terms of a sum in float32."""

NARROW = 512
"""Columns below which all products are float64."""

STRIP = 256
"""Rows of the upper triangle formed by one product."""

FAR = 0.75
"""A mean is far from 0 when its square is this share of the mean square, or more."""

FOLDED = 64
"""Blocks whose means are kept before they are folded into the sum."""

LARGEST, LEAST = 2.0**60, 2.0**-60
"""Inputs outside are multiplied in float64: squares of float32 end near 2^127 and 2^-126."""


def real_tokens(
    inputs: torch.Tensor, mask: torch.Tensor | None, length_first: bool = False
) -> torch.Tensor | None:
    """The inputs (tokens, d_in) of real tokens, or None when the mask does not fit the inputs.

    inputs: (..., d_in). mask: (batch, length) bool, True = real token; None = all are real. It fits
    inputs (batch, length, ..., d_in) and (batch * length, d_in), batch first. Which positions of
    any other shape are padding cannot be told (one row a sequence, tokens routed to an expert), so
    those fit only a mask without padding. length_first: inputs of the model may have the length
    before the batch; then the mask fits (length, batch, ..., d_in) too, and nothing where the two
    cannot be told apart.
    """
    if mask is not None and not bool(mask.all()):
        shape = tuple(inputs.shape[:2]) if inputs.ndim >= 3 else None
        batch_first, turned = shape == tuple(mask.shape), shape == tuple(mask.T.shape)
        if length_first and turned and not batch_first:
            inputs = inputs[mask.T.to(inputs.device)]
        elif batch_first and not (length_first and turned):
            inputs = inputs[mask.to(inputs.device)]
        elif inputs.ndim == 2 and inputs.shape[0] == mask.numel() and not length_first:
            inputs = inputs[mask.reshape(-1).to(inputs.device)]
        else:
            return None
    return inputs.reshape(-1, inputs.shape[-1])


class GramSum:
    """A running G = sum x x^T and s = sum x, kept where the first inputs lie."""

    def __init__(self, d_in: int) -> None:
        self.tokens = 0
        self._d_in = d_in
        self._sum: torch.Tensor | None = None  # its upper triangle
        self._means: list[tuple[torch.Tensor, torch.Tensor, int]] = []  # c, s_y, tokens
        self._total: torch.Tensor | None = None

    def add(self, inputs: torch.Tensor) -> None:
        """Add inputs (tokens, d_in) of any floating dtype."""
        # Apple's GPUs have no float64.
        home = torch.device("cpu") if inputs.device.type == "mps" else inputs.device
        if self._sum is None or self._total is None:
            self._sum = torch.zeros(self._d_in, self._d_in, dtype=torch.float64, device=home)
            self._total = torch.zeros(self._d_in, dtype=torch.float64, device=home)
        with torch.autocast(home.type, enabled=False):  # it would halve the digits of products
            for part in torch.split(inputs.detach(), TOKENS):
                self._add_block(part.to(self._sum.device), self._sum, self._total)
        self.tokens += inputs.shape[0]

    def _add_block(self, part: torch.Tensor, sums: torch.Tensor, total: torch.Tensor) -> None:
        if not len(part):
            return
        exact = part.dtype == torch.float64 or self._d_in < NARROW
        if exact or not _in_range(part):
            rows = part.double()
            total += rows.sum(dim=0)
            _add_product(sums, rows)
            return
        rows = part.float()
        mean = rows.mean(dim=0)
        far = mean**2 >= FAR * (rows**2).mean(dim=0)
        mean = (mean * far).bfloat16().float()
        rows = rows - mean
        rest = rows.sum(dim=0, dtype=torch.float64)
        _add_product(sums, rows)
        self._means.append((mean.double(), rest, len(part)))
        total += rest + len(part) * mean.double()
        if len(self._means) == FOLDED:
            self._fold(sums)

    def _fold(self, sums: torch.Tensor) -> None:
        """Add what the means of blocks have to give."""
        if self._means:
            means = torch.stack([mean for mean, _, _ in self._means])
            rests = torch.stack([rest for _, rest, _ in self._means])
            counts = means.new_tensor([count for _, _, count in self._means])
            # c s^T + s c^T + t c c^T = c h^T + h c^T with h = s + t c / 2
            halves = rests + 0.5 * counts[:, None] * means
            cross = means.T @ halves
            sums += cross + cross.T
            self._means = []

    def matrix(self) -> Matrix:
        """(d_in, d_in) float64; zero when there were no tokens."""
        if self._sum is None:
            return np.zeros((self._d_in, self._d_in))
        self._fold(self._sum)
        gram: Matrix = (self._sum.triu() + self._sum.triu(1).T).cpu().numpy()
        return gram

    def mean(self) -> Vector:
        """E[x] (d_in,) float64 over tokens; zero when there were none."""
        if self._total is None:
            return np.zeros(self._d_in)
        mean: Vector = self._total.cpu().numpy() / max(1, self.tokens)
        return mean


def _add_product(sums: torch.Tensor, rows: torch.Tensor) -> None:
    """Add rows^T rows to the upper triangle, with some entries below it."""
    for top in range(0, rows.shape[1], STRIP):
        strip = slice(top, top + STRIP)
        sums[strip, top:] += rows[:, strip].T @ rows[:, top:]


def _in_range(part: torch.Tensor) -> bool:
    """Whether squares of the inputs have a place in float32; NaN and infinity have none."""
    largest = part.abs().amax(dim=0)
    return bool(((largest == 0) | ((largest >= LEAST) & (largest <= LARGEST))).all())

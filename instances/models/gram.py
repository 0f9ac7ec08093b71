"""Streaming Gram matrices and means of the inputs of linear layers.

For inputs x_1 ... x_t of a layer, each of d_in features, the sums

    G = sum over real tokens of x x^T     (d_in, d_in)
    s = sum over real tokens of x         (d_in,),    E[x] = s / t

are taken in float64, product and sum alike: half-precision inputs are converted exactly before the
product, so nothing overflows at 65504 or stops growing at 2^24. Padding is no data: the positions
where the attention mask is 0 are dropped before the product. Leading axes only count tokens, so an
input of shape (d_in,), (tokens, d_in), (batch, tokens, d_in) or more axes gives the same sum.

Memory: 8 d_in^2 bytes a layer, and at most PRODUCT_ELEMENTS converted inputs at a time.
"""

import numpy as np
import torch

from maskgap.instances.arrays import Matrix, Vector

PRODUCT_ELEMENTS = 1 << 24
"""Input entries converted to float64 at once (128 MiB)."""


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
    """A running G = sum x x^T and s = sum x in float64, kept where the first inputs lie."""

    def __init__(self, d_in: int) -> None:
        self.tokens = 0
        self._d_in = d_in
        self._sum: torch.Tensor | None = None
        self._total: torch.Tensor | None = None

    def add(self, inputs: torch.Tensor) -> None:
        """Add inputs (tokens, d_in) of any floating dtype."""
        if self._sum is None or self._total is None:
            # Apple's GPUs have no float64.
            home = torch.device("cpu") if inputs.device.type == "mps" else inputs.device
            self._sum = torch.zeros(self._d_in, self._d_in, dtype=torch.float64, device=home)
            self._total = torch.zeros(self._d_in, dtype=torch.float64, device=home)
        for part in torch.split(inputs, max(1, PRODUCT_ELEMENTS // self._d_in)):
            rows = part.detach().to(self._sum.device).to(torch.float64)
            self._sum.addmm_(rows.T, rows)
            self._total += rows.sum(dim=0)
        self.tokens += inputs.shape[0]

    def matrix(self) -> Matrix:
        """(d_in, d_in) float64; zero when there were no tokens."""
        if self._sum is None:
            return np.zeros((self._d_in, self._d_in))
        gram: Matrix = self._sum.cpu().numpy()
        return gram

    def mean(self) -> Vector:
        """E[x] (d_in,) float64 over tokens; zero when there were none."""
        if self._total is None:
            return np.zeros(self._d_in)
        mean: Vector = self._total.cpu().numpy() / max(1, self.tokens)
        return mean

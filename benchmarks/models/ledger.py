"""Masks written into a model, and the proof that a checkpoint holds just that.

To apply a mask is to set the pruned entries of a weight to +0 and to leave the bits of all others
alone, or where they were re-optimised, to set them to those weights, rounded to the model's dtype.
The ledger takes digests of bits: of the entries that stay, as they are to be, and before anything
is written, of the rows of a parameter that hold no pruned matrix and of every other tensor of the
model. A checkpoint that was read back must have, name by name, the same dtype and shape, zeros in
all pruned places and the same digests elsewhere. So it differs from the dense model in the masks,
in re-optimised weights, and in nothing else.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError
from maskgap.instances.models.linear import Site
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.memory import shared_names
from maskgap.instances.models.state import tensors_of

Weights = NDArray[np.float64] | NDArray[np.float32]
"""Re-optimised weights (d_out, d_in) of a matrix."""

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Ledger:
    """What a model held before it was pruned. Made before the first mask is applied."""

    def __init__(self, loaded: LoadedModel, sites: list[Site]) -> None:
        """Raise InputError when a matrix is not among the tensors that are saved of the model."""
        tensors = tensors_of(loaded.module, loaded.name)
        self._shapes = {name: (t.dtype, t.shape) for name, t in tensors.items()}
        self._sites: dict[str, list[Site]] = {}
        tied = shared_names(loaded.module)
        for site in sites:
            names = {site.parameter, *tied.get(site.parameter, [])} & tensors.keys()
            if not names:
                raise InputError(
                    f"{loaded.name}: {site.parameter} is not in the model's state dict, so a "
                    f"pruned {site.name} could not be saved; leave it out by --layers"
                )
            for name in names:
                self._sites.setdefault(name, []).append(site)
        self._rest = {
            name: _digest(_outside(tensor.detach(), self._sites.get(name, [])))
            for name, tensor in tensors.items()
        }
        self._kept = {site.name: _digest(site.matrix()) for site in sites}
        self._dense = {f"{name} itself": digest for name, digest in self._kept.items()}
        self._masks: dict[str, torch.Tensor] = {}

    @property
    def digest(self) -> str:
        """Of all that the model held."""
        parts = sorted({**self._rest, **self._dense}.items())
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def apply(self, site: Site, mask: Kept, weights: Weights | None = None) -> None:
        """Prune a matrix of the model in place. mask: (d_out, d_in).

        weights: alike, what becomes of those that stay, rounded to the matrix's dtype; None: they
        do not change.
        """
        weight = site.matrix()
        if weights is not None:
            weight.copy_(in_dtype_of(site, weights))
        kept = torch.from_numpy(np.ascontiguousarray(mask)).to(weight.device)
        self._kept[site.name] = _digest(weight[kept])
        self._masks[site.name] = kept.cpu()
        weight.masked_fill_(~kept, 0)

    def verify(self, saved: Mapping[str, torch.Tensor], where: str) -> None:
        """Compare a checkpoint with what was recorded. Raises InputError naming the tensor."""
        for name, (dtype, shape) in self._shapes.items():
            if name not in saved:
                raise InputError(f"{where}: the saved model has no tensor {name}")
            tensor = saved[name].detach()
            if (tensor.dtype, tensor.shape) != (dtype, shape):
                raise InputError(
                    f"{where}: {name} was saved as {tensor.dtype} {tuple(tensor.shape)}, "
                    f"but it is {dtype} {tuple(shape)}"
                )
            sites = self._sites.get(name, [])
            for site in sites:
                self._verify_site(site, site.of(tensor).cpu(), where)
            if _digest(_outside(tensor, sites)) != self._rest[name]:
                raise InputError(f"{where}: {name} was saved with other values than it has")

    def _verify_site(self, site: Site, weight: torch.Tensor, where: str) -> None:
        mask = self._masks.get(site.name)
        if mask is not None:
            if int(torch.count_nonzero(_bits(weight[~mask]))):
                raise InputError(f"{where}: {site.name} has pruned weights that are not zero")
            weight = weight[mask]
        if _digest(weight) != self._kept[site.name]:
            raise InputError(f"{where}: {site.name} has kept weights that differ from the dense")


def in_dtype_of(site: Site, weights: Weights) -> torch.Tensor:
    """Weights (d_out, d_in) rounded to the dtype of a matrix.

    Raises InputError where they leave its range.
    """
    rounded = torch.from_numpy(weights).to(site.matrix().dtype)
    if not bool(torch.isfinite(rounded).all()):
        raise InputError(
            f"{site.name}: re-optimised weights leave the range of {rounded.dtype}; give a larger "
            "ridge"
        )
    return rounded


def _outside(tensor: torch.Tensor, sites: list[Site]) -> torch.Tensor:
    """The rows of a parameter that belong to none of the sites."""
    if not sites:
        return tensor
    outside = torch.ones(len(tensor), dtype=torch.bool, device=tensor.device)
    for site in sites:
        outside[slice(None) if site.rows is None else site.rows] = False
    return tensor[outside]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(_BITS[tensor.element_size()])


def _digest(tensor: torch.Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    raw = flat.view(torch.uint8) if flat.numel() else torch.empty(0, dtype=torch.uint8)
    return hashlib.sha256(raw.numpy().data).hexdigest()

"""`maskgap show`: what is in a layer, mask or proof file."""

from pathlib import Path

import numpy as np

from instances.errors import InputError, ProofError
from instances.files import LAYER_FORMAT, MASK_FORMAT, read_layer
from instances.proof_file import PROOF_FORMAT, read_proof
from instances.tensors import read_tensors

RANK_TOLERANCE = 1e-10
EIGENVALUE_COLUMNS = 2048


def run(file: Path) -> int:
    """Print a description. Raises InputError when the file is none of ours."""
    tensors, meta = read_tensors(file)
    kind = meta.get("format")
    if kind == LAYER_FORMAT:
        _layer(file, meta)
    elif kind == MASK_FORMAT and "mask" in tensors:
        mask = tensors["mask"].astype(bool)
        print(f"mask {mask.shape[0]} x {mask.shape[1]}, {1 - mask.mean():.4%} pruned")
        _facts(meta)
    elif kind == PROOF_FORMAT:
        try:
            for proof in read_proof(file).proofs:
                leaves = "" if proof.leaves is None else f", {len(proof.leaves.function)} leaves"
                print(f"row {proof.row}: bound {proof.bound:.8g} by {proof.kind}{leaves}")
        except ProofError as error:
            raise InputError(str(error)) from None
    else:
        raise InputError(f"{file}: metadata 'format' is {kind}, which maskgap does not know")
    return 0


def _layer(file: Path, meta: dict[str, str]) -> None:
    layer = read_layer(file)
    diagonal = np.sqrt(np.maximum(layer.gram.diagonal(), 0))
    live = diagonal[diagonal > 0]
    print(f"layer {layer.d_out} x {layer.d_in}")
    print(f"weights: rms {np.sqrt((layer.weight**2).mean()):.4g}, {(layer.weight == 0).sum()} zero")
    print(f"dead input columns: {len(diagonal) - len(live)}")
    if len(live):
        low, middle, high = np.quantile(live, [0.0, 0.5, 1.0])
        print(f"input norms: {low:.4g} least, {middle:.4g} median, {high:.4g} greatest")
    if layer.d_in <= EIGENVALUE_COLUMNS:
        values = np.linalg.eigvalsh(layer.gram_unit[0])
        rank = int((values > RANK_TOLERANCE * max(values[-1], 0.0)).sum())
        print(f"Gram rank {rank} of {layer.d_in} (eigenvalues above {RANK_TOLERANCE:g} of the top)")
    print(f"held-out Gram: {'yes' if layer.gram_eval is not None else 'no'}")
    _facts({**meta, "digest": layer.digest})


def _facts(meta: dict[str, str]) -> None:
    for key, value in sorted(meta.items()):
        shown = value if len(value) <= 200 else f"{value[:200]}... ({len(value)} characters)"
        print(f"{key}: {shown}")

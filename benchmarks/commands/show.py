"""`maskgap show`: what is in a layer, mask or proof file."""

from pathlib import Path

import numpy as np

from maskgap.benchmarks.commands.numbers import at_least, at_most
from maskgap.benchmarks.commands.screen import Results
from maskgap.instances.arrays import pruned_of
from maskgap.instances.definite import LeastEigenvalue, least_eigenvalue
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.files import LAYER_FORMATS, MASK_FORMAT, mask_tensors, read_layer
from maskgap.instances.formats.printable import visible
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import PROOF_FORMAT, read_proof
from maskgap.instances.formats.tensors import read_tensors

RANK_TOLERANCE = 1e-10
EIGENVALUE_COLUMNS = 2048
LONGEST_VALUE = 200

Facts = dict[str, object]


def run(file: Path, as_json: bool) -> int:
    """Print a description: lines, or JSON objects (one a file, of a proof one a row).

    Raises InputError when the file is none of ours.
    """
    tensors, meta = read_tensors(file)
    kind = meta.get("format")
    if kind in LAYER_FORMATS:
        described, say = [_layer(file)], _say_layer
    elif kind == MASK_FORMAT:
        described, say = [_mask(file, tensors)], _say_mask
    elif kind == PROOF_FORMAT:
        try:
            described, say = [_proof(proof) for proof in read_proof(file).proofs], _say_proof
        except ProofError as error:
            raise InputError(str(error)) from None
    else:
        found = "absent" if kind is None else f"'{kind}'"
        raise InputError(
            f"{file}: metadata 'format' is {found}; show describes "
            f"{', '.join(LAYER_FORMATS)}, {MASK_FORMAT} and {PROOF_FORMAT}"
        )
    if kind != PROOF_FORMAT:
        digest = {"digest": described[0].pop("digest")} if "digest" in described[0] else {}
        described[0]["meta"] = {**meta, **digest}
    results = Results(kept=False)
    for facts in described:
        if as_json:
            results.line(facts)
        else:
            say(facts)
            _say_meta(facts)
    return 0


def _layer(file: Path) -> Facts:
    layer = read_layer(file)
    norms = np.sqrt(np.maximum(layer.gram.diagonal(), 0))
    live = norms[norms > 0]
    facts: Facts = {
        "kind": "layer",
        "d_out": layer.d_out,
        "d_in": layer.d_in,
        "weight_rms": float(np.sqrt((layer.weight**2).mean())),
        "zero_weights": int((layer.weight == 0).sum()),
        "dead_columns": len(norms) - len(live),
        "input_norms": np.quantile(live, [0.0, 0.5, 1.0]).tolist() if len(live) else None,
        "gram_rank": None,
        "least_eigenvalue": None,
        "semidefinite": None,
        "held_out": layer.gram_eval is not None,
        "input_mean": layer.input_mean is not None,
        "column_cost": layer.column_cost is not None,
        "forced": layer.forced is not None,
        "digest": layer.digest,
    }
    if layer.d_in <= EIGENVALUE_COLUMNS:
        values = np.linalg.eigvalsh(layer.gram_unit[0])
        facts["gram_rank"] = int((values > RANK_TOLERANCE * max(values[-1], 0.0)).sum())
        least = least_eigenvalue(layer.gram)
        facts["least_eigenvalue"] = [least.low, least.high]
        facts["semidefinite"] = least.semidefinite
    return facts


def _say_layer(facts: Facts) -> None:
    print(f"layer {facts['d_out']} x {facts['d_in']}")
    print(f"weights: rms {facts['weight_rms']:.4g}, {facts['zero_weights']} zero")
    print(f"dead input columns: {facts['dead_columns']}")
    if isinstance(norms := facts["input_norms"], list):
        print("input norms: {:.4g} least, {:.4g} median, {:.4g} greatest".format(*norms))
    if facts["gram_rank"] is not None:
        tolerance = f"eigenvalues above {RANK_TOLERANCE:g} of the top"
        print(f"Gram rank {facts['gram_rank']} of {facts['d_in']} ({tolerance})")
    if isinstance(ends := facts["least_eigenvalue"], list):
        least = LeastEigenvalue(*ends)
        answer = {True: "yes", False: "no, by rounding", None: "cannot be told in float64"}
        print(
            f"Gram semidefinite as stored: {answer[least.semidefinite]} (least eigenvalue between "
            f"{at_least(least.low)} and {at_most(least.high)})"
        )
    for name, what in (
        ("held_out", "held-out Gram"),
        ("input_mean", "mean of inputs"),
        ("column_cost", "column costs"),
        ("forced", "forced entries"),
    ):
        print(f"{what}: {'yes' if facts[name] else 'no'}")


def _mask(file: Path, tensors: dict[str, np.typing.NDArray[np.generic]]) -> Facts:
    mask = tensors.get("mask")
    if mask is None or mask.dtype != np.bool_ or mask.ndim != 2 or mask.size == 0:
        found = "none" if mask is None else f"{mask.dtype} {mask.shape}"
        raise InputError(f"{file}: expected a bool tensor 'mask' (d_out, d_in), found {found}")
    kept, weights = mask_tensors(file, tensors, mask.shape)
    pruned = pruned_of(kept).sum(axis=1)
    return {
        "kind": "mask",
        "d_out": mask.shape[0],
        "d_in": mask.shape[1],
        "pruned": float(1 - kept.mean()),
        "pruned_per_row": [int(pruned.min()), int(pruned.max())],
        "weights": weights is not None,
    }


def _say_mask(facts: Facts) -> None:
    print(f"mask {facts['d_out']} x {facts['d_in']}, {facts['pruned']:.4%} pruned")
    if facts["weights"]:
        print("weights that stay: re-optimised, in the file")


def _proof(proof: PartProof) -> Facts:
    return {
        "kind": "proof",
        "row": proof.row,
        "rows": proof.height,
        "bound": proof.bound if np.isfinite(proof.bound) else None,
        "by": proof.evidence.kind,
        "leaves": proof.evidence.leaf_count,
    }


def _say_proof(facts: Facts) -> None:
    leaves = "" if facts["leaves"] is None else f", {facts['leaves']} leaves"
    first, height = facts["row"], facts["rows"]
    name = f"row {first}"
    if isinstance(first, int) and isinstance(height, int) and height > 1:
        name = f"rows {first}:{first + height}"
    bound = facts["bound"]
    stated = at_least(bound) if isinstance(bound, float) else "not a number"
    print(f"{name}: states bound {stated} by {facts['by']}{leaves}; maskgap check verifies it")


def _say_meta(facts: Facts) -> None:
    meta = facts.get("meta")
    for key, value in sorted(meta.items()) if isinstance(meta, dict) else ():
        text = visible(value)
        if len(text) > LONGEST_VALUE:
            text = f"{text[:LONGEST_VALUE]}... ({len(value)} characters)"
        print(f"{visible(key)}: {text}")

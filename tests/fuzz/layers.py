"""Altered layer and mask files: read as the commands do, they are refused in words or are sound.

A layer that is read is finite, symmetric and of fitting shapes, its rows can be asked about, and
the certificate of a mask holds in exact arithmetic; the proofs of the layer that it was made from
hold for it only where every number is the same.
"""

import warnings
from fractions import Fraction

import numpy as np

from maskgap.benchmarks.commands import check
from maskgap.benchmarks.verify.certificate import Verdict, certify_part
from maskgap.instances.errors import InputError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.files import read_layer, read_mask, write_mask
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import write_proof
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import MASK
from maskgap.instances.problem import Problem
from tests.fuzz.bytes import damaged
from tests.fuzz.mutations import file_bytes
from tests.fuzz.tensors import (
    added,
    exchanged,
    missing,
    noisy_numbers,
    other_dtype,
    other_shape,
    scaled_numbers,
    shuffled,
    special_numbers,
    whole_numbers,
)
from tests.helpers.exact import losses
from tests.helpers.legal_masks import LARGEST, legal_pruned

MUTATIONS = (
    special_numbers, scaled_numbers, noisy_numbers, whole_numbers, shuffled, other_dtype,
    other_shape, missing, exchanged, added,
)  # fmt: skip


def run_layer_file(rng, source, folder, about, tally):
    """Alter the layer of an honest proof, or a mask of it, and read it."""
    tensors, meta = read_tensors(source.instance)
    if rng.random() < 0.5:
        n = source.layer.d_in
        tensors |= {"gram_eval": tensors["gram"].copy(), "input_mean": np.zeros(n)}
        meta["tokens"] = "8"
    masks = rng.random() < 0.2
    if masks:
        write_mask(folder / "m", np.ones(source.layer.weight.shape, bool), source.layer,
                   source.pattern, "none", rows=range(source.layer.d_out))  # fmt: skip
        tensors, meta = read_tensors(folder / "m")
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, tensors, meta, ())
    if rng.random() < 0.1:
        values = ("", "0", "-1", "1e9", "9" * 400, "maskgap-layer/2", "\x00", "٣")
        meta[str(rng.choice(["format", "tokens", "digest", "rows", "x"]))] = str(rng.choice(values))
    raw = file_bytes(tensors, meta)
    path = folder / "layer.safetensors"
    path.write_bytes(damaged(rng, raw) if rng.random() < 0.1 else raw)
    tally.counts["mask files" if masks else "layer files"] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if masks:
                read_mask(path, source.layer)
            else:
                _layer(source, path, folder, about, tally)
        except InputError as error:
            tally.counts["refused"] += 1
            if "\n" in str(error):
                tally.faults.append(f"{about}: not one line: {error}")


def _layer(source, path, folder, about, tally):
    layer = read_layer(path)
    tally.counts["layers read"] += 1
    if not (np.isfinite(layer.weight).all() and (layer.gram == layer.gram.T).all()):
        tally.faults.append(f"{about}: a layer that is not finite and symmetric")
    problem = Problem.of(layer, parse_pattern(source.pattern), objective=source.problem.objective)
    proof = folder / "it.proof.safetensors"
    write_proof(proof, source.problem, source.proofs)
    same = (
        layer.digest == source.layer.digest
        and [part.digest for part in problem] == [part.digest for part in source.problem]
    )  # fmt: skip
    asked = check.CheckOptions(
        proof, path, source.pattern, source.asked, time_limit=30.0, as_json=True
    )
    held = check.run(asked) == 0
    if held and not same:
        tally.counts["false accepts"] += 1
        tally.faults.append(f"{about}: a proof of another layer is accepted")
    part = next(iter(problem)).under(MASK)  # whose losses may be listed by a proof
    if part.n > LARGEST:
        return
    pruned = legal_pruned(layer, source.pattern, part.rows)
    exact = losses(part, pruned)
    listed = PartProof(part.row, part.digest, 0.0, None, Enumeration(), height=part.height)
    number = int(np.argmax(exact))
    found = certify_part(part, ~pruned[number], proof=listed)
    bad = Fraction(found.bound) > min(exact) or not (
        Fraction(found.objective_low) <= exact[number] <= Fraction(found.objective_high)
    )
    if found.verdict is Verdict.PROVED:
        bad |= exact[number] - min(exact) > Fraction(1e-6) * exact[number]
    if bad or found.verdict is Verdict.WRONG:
        tally.counts["false accepts"] += 1
        tally.faults.append(f"{about}: {found}, optimum {float(min(exact))}")

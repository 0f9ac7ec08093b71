"""Altered proof files, written, read and judged as `maskgap check` and `bound --resume` do it."""

import contextlib
import io
import json
import warnings
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from maskgap.benchmarks.commands import check
from maskgap.benchmarks.layers.bounding import bounding
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.check import require_same_question
from maskgap.instances.errors import InputError, MaskgapError, ProofError
from maskgap.instances.formats.proof_file import read_proof
from tests.fuzz.bytes import damaged
from tests.fuzz.honest import honest
from tests.fuzz.layers import run_layer_file
from tests.fuzz.mutations import file_bytes, mutate, signed
from tests.fuzz.runs import Tally
from tests.helpers.exact import losses
from tests.helpers.exact_checker import exact_bound
from tests.helpers.exact_functions import Rejected
from tests.helpers.legal_masks import LARGEST, legal_pruned

UNSIGNED = 0.03
"""Share of files whose digest is left as it was."""

BYTES = 0.1
"""Share of files whose bytes are damaged as well."""

LAYERS = 8
"""Every eighth seed alters a layer or a mask instead of a proof."""

RESUMED = 0.15
"""Share of files that the work on a layer goes on from."""


def run_file(seed):
    """The tally of the altered file of a seed."""
    rng, tally, pool = np.random.default_rng([23, seed]), Tally(), honest()
    source = pool[int(rng.integers(len(pool)))]
    if seed % LAYERS == 0:
        with TemporaryDirectory(prefix="maskgap-fuzz-") as folder:
            about = f"file seed {seed}, layer of {source.pattern}"
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                run_layer_file(rng, source, Path(folder), about, tally)
        return tally
    tensors = {name: array.copy() for name, array in source.tensors.items()}
    meta = dict(source.meta)
    if rng.random() < 0.6:  # else what it states is mostly more than what is left of the proof
        meta["parts"] = json.dumps(
            [{**head, "bound": "0x0p0"} for head in json.loads(meta["parts"])]
        )
    names = mutate(rng, tensors, meta, pool)
    raw = file_bytes(tensors, meta if rng.random() < UNSIGNED else signed(tensors, meta))
    if rng.random() < BYTES:
        raw = damaged(rng, raw)
        names.append("bytes")
    kind = source.proofs[0].evidence.kind
    about = f"file seed {seed}, {source.pattern}, {kind}, {'+'.join(names)}"
    tally.counts["files"] += 1
    with TemporaryDirectory(prefix="maskgap-fuzz-") as folder:
        path = Path(folder) / "bound.proof.safetensors"
        path.write_bytes(raw)
        _check(source, path, about, tally)
        if rng.random() < RESUMED:
            _resume(source, path, about, tally)
    return tally


def _check(source, path, about, tally):
    """`maskgap check`: it ends in words, and what it accepts is true of the exact optimum."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        try:
            asked = check.CheckOptions(
                path, source.instance, source.pattern, source.asked, time_limit=30.0, as_json=True
            )
            code = check.run(asked)
        except InputError as error:
            code, text = 2, str(error)
            err.write(text)
    tally.counts[("accepted", "rejected", "bad input")[code]] += 1
    words = err.getvalue()
    if code and (words.count("\n") > 1 or not words.strip()):
        tally.faults.append(f"{about}: not one line: {words!r}")
    if code:
        return
    file = read_proof(path)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    for part, proof, line in zip(source.problem, file.proofs, lines, strict=True):
        _accepted(part, proof, line, source.optima[part.row], about, tally)


def _accepted(part, proof, line, optimum, about, tally):
    tally.counts["bounds"] += 1
    bound = Fraction(line["derived_bound"])
    if bound > optimum or Fraction(line["bound"]) > optimum:
        tally.counts["false accepts"] += 1
        tally.faults.append(f"{about}: row {part.row}: {line}, optimum {float(optimum)}")
        return
    if part.n > LARGEST:
        return
    pruned = legal_pruned(part.layer, part.pattern, part.rows)
    try:
        exact = exact_bound(part, pruned, proof)
    except Rejected as reason:
        tally.faults.append(f"{about}: row {part.row}: the second checker rejects it: {reason}")
        return
    if exact < bound:
        tally.faults.append(f"{about}: row {part.row}: {float(bound)}, not {float(exact)}")


def _resume(source, path, about, tally):
    """Work that goes on from the file and does no run: masks are legal, bounds and gap hold."""
    problem = source.problem
    try:
        file = read_proof(path)
        require_same_question(problem, file)
    except ProofError:
        return
    held = {proof.row: proof for proof in file.proofs}
    try:
        work = bounding(problem, RunLimits(30.0), runs=0, held=held)
        for _ in work:
            pass
    except MaskgapError:  # in words, which is what was asked
        return
    tally.counts["resumed"] += 1
    masks, total = work.masks(), work.total
    optimum = sum(source.optima.values())
    if Fraction(total.bound) > optimum:
        tally.counts["false accepts"] += 1
        tally.faults.append(f"{about}: resumed: bound {total.bound}, optimum {float(optimum)}")
    if masks is None:
        return
    if not problem.is_legal(masks):
        tally.counts["false accepts"] += 1
        tally.faults.append(f"{about}: resumed: an illegal mask")
        return
    loss = sum(losses(part, ~problem.of_part(masks, part)[None])[0] for part in problem)
    high = sum(Fraction(row.certificate.objective_high) for row in work.rows)
    if loss > high:
        tally.faults.append(f"{about}: resumed: objective at most {high}, loss {float(loss)}")

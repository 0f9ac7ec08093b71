"""The files that `maskgap bound` keeps in the directory of its proof, and goes on from.

    bound.proof.safetensors   the proofs of all rows
    bound.sample.json         of `--sample`: the sizes that rows are drawn by, so that a later call
                              draws the same rows

The second proves nothing. What can be wrong with it is that it belongs to other rows, which is
refused; other numbers in it would draw other rows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

import numpy as np

from maskgap.benchmarks.commands.screen import say
from maskgap.benchmarks.layers.sampled import SampledBound
from maskgap.benchmarks.layers.work import LayerWork
from maskgap.benchmarks.verify.check import require_same_question
from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.files import write_atomically
from maskgap.instances.formats.outputs import check_file, replacing
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import PROOF, read_proof, write_proof
from maskgap.instances.problem import Problem

PROOF_NAME = "bound.proof.safetensors"

SAMPLE_NAME = "bound.sample.json"

SAMPLE_FORMAT = "maskgap-sample/1"


@dataclass(eq=False)
class Store:
    """The proof file of the work. held: its proofs, by row. aside: whether a file was set aside.

    sizes: (rows,) that an earlier call drew rows by, or None.
    """

    target: Path
    problem: Problem
    held: Mapping[int, PartProof] = field(default_factory=dict)
    aside: bool = False
    sizes: Vector | None = None

    @staticmethod
    def opened(
        target: Path, problem: Problem, resume: bool, inputs: tuple[Path | None, ...]
    ) -> "Store":
        """What there is to go on from. Raises InputError rather than lose or mistake any."""
        check_file(target, PROOF, inputs)
        if not target.exists():
            return Store(target, problem)
        if not resume:
            raise InputError(f"{target} exists; go on from it with --resume, or move it away")
        try:
            file = read_proof(target)
            require_same_question(problem, file)
        except ProofError as error:
            raise InputError(f"{target}: cannot be gone on from: {error}; move it away") from None
        sizes = _read_sizes(target.with_name(SAMPLE_NAME), problem)
        return Store(target, problem, {proof.row: proof for proof in file.proofs}, sizes=sizes)

    def save(self, work: LayerWork) -> None:
        """Write the proofs of all rows. Raises InputError.

        A file with proofs that do not hold, and so are not in the new one, is set aside.
        """
        if isinstance(work, SampledBound) and work.sizes is not None:
            _write_sizes(self.target.with_name(SAMPLE_NAME), self.problem, work.sizes)
        if not work.rejected or self.aside:
            write_proof(self.target, self.problem, work.proofs())
            return
        with replacing(self.target, say) as new:
            write_proof(new, self.problem, work.proofs())
        self.aside = True

    def save_meanwhile(self, work: LayerWork) -> None:
        """Save; a failure is said and not more, since a later one may succeed."""
        try:
            self.save(work)
        except InputError as error:
            say(f"maskgap: {error}; the work goes on")

    def tell(self, work: LayerWork) -> None:
        """Say which proofs of an earlier call do not count."""
        if work.rejected:
            more = f"; {len(work.rejected) - 1} more" if len(work.rejected) > 1 else ""
            say(f"maskgap: {self.target}: not gone on from: {work.rejected[0]}{more}")


def _question(problem: Problem) -> dict[str, str]:
    """What sizes belong to: losses of masks of these rows."""
    return {
        "format": SAMPLE_FORMAT,
        "layer": problem.layer.digest,
        "pattern": str(problem.pattern.meaning),
        "objective": str(problem.objective),
        "rows": f"{problem.rows.start}:{problem.rows.stop}",
    }


def _write_sizes(path: Path, problem: Problem, sizes: Vector) -> None:
    """Raises InputError."""
    text = json.dumps({**_question(problem), "sizes": sizes.tolist()})
    write_atomically(path, (text + "\n").encode())


def _read_sizes(path: Path, problem: Problem) -> Vector | None:
    """The sizes of an earlier call, None without one. Raises InputError."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sizes = found.pop("sizes")
        well = found == _question(problem) and len(sizes) == len(problem.rows)
        well = well and all(type(x) is float and isfinite(x) and x >= 0.0 for x in sizes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        well = False
    if not well:
        raise InputError(f"{path}: no sizes of these rows; move it away to draw rows anew")
    return np.array(sizes, dtype=np.float64)

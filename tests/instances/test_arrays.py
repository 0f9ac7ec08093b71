"""Kept and pruned arrays: two types for the type checker, plain arrays when the code runs."""

import subprocess
import sys

import numpy as np

from maskgap.instances.arrays import Kept, Pruned, kept_of, pruned_of

SCRIPT = """
import numpy as np

from maskgap.instances.arrays import Flags, Kept, Pruned, kept_of, pruned_of
from maskgap.instances.masks.groups import BudgetGroups

groups = BudgetGroups(4, 4, 2)
kept: Kept = groups.prune_lowest(np.arange(4.0))
pruned: Pruned | None = groups.minimise(np.arange(4.0))
assert pruned is not None
flags: Flags = np.arange(4) < 2
groups.is_legal(kept_of(pruned)), groups.is_legal(Kept(flags)), pruned_of(kept) & pruned
groups.is_legal(kept.copy())
{}
"""

REFUSED = {
    "groups.is_legal(pruned)": "arg-type",  # a flip forgotten
    "groups.is_legal(kept_of(kept))": "arg-type",  # one too many
    "groups.is_legal(pruned_of(kept))": "arg-type",
    "groups.is_legal(flags)": "arg-type",  # nobody said what it is
    "groups.is_legal(kept[:4])": "arg-type",
    "kept = pruned": "assignment",
    "~kept": "deprecated",
    "~pruned": "deprecated",
    "groups.is_legal(Kept(pruned))": "deprecated",
    "Pruned(kept)": "deprecated",
}
"""Lines that the type checker must refuse, and as what."""


def test_the_type_checker_tells_kept_from_pruned(tmp_path):
    (tmp_path / "user.py").write_text(SCRIPT.format("\n".join(REFUSED)))
    first = SCRIPT.partition("{}")[0].count("\n") + 1
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--enable-error-code=deprecated", "user.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    found = [(int(e.split(":")[1]) - first, e.rpartition("[")[2].rstrip("]")) for e in errors]
    assert found == list(enumerate(REFUSED.values())), done.stdout


def test_they_are_plain_arrays_and_nothing_is_copied():
    flags = np.array([[True, False], [False, False]])
    assert Kept(flags) is flags
    assert Pruned(flags) is flags
    pruned = pruned_of(Kept(flags))
    assert type(pruned) is np.ndarray
    assert pruned.dtype == np.bool_
    assert pruned.tolist() == [[False, True], [True, True]]
    assert (kept_of(pruned) == flags).all()

"""The kinds of evidence, by their names in proof files."""

from collections.abc import Mapping

from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.evidence.refit_leaves import RefitLeaves
from maskgap.instances.formats.evidence.shared_budget import SharedBudget
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.evidence.trivial import Trivial
from maskgap.instances.formats.proof import Evidence

KINDS: Mapping[str, type[Evidence]] = {
    one.kind: one for one in (Trivial, Enumeration, Leaves, SharedShift, SharedBudget, RefitLeaves)
}

"""The measures of `benchmarks.models.fidelity` over the batches of one evaluation."""

from collections.abc import Mapping

import torch

from maskgap.benchmarks.models.fidelity import Divergence, Embeddings, Likelihood, RelativeError
from maskgap.benchmarks.models.outputs import (
    Outputs,
    Part,
    Ran,
    outputs_of,
    rows_of,
    whole_sequences,
)
from maskgap.instances.models.calibration import Batch
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.walk import Passed


class Measures:
    """Running sums of a model's measures, and of its agreement with the dense one where given.

    own, reference: likelihoods of the model and of the dense one. sequences, tokens: taken.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        dense: LoadedModel | None,
        ran: Ran | None = None,
        passed: Passed | None = None,
    ) -> None:
        """ran: of the dense model, kept from one evaluation on the same batches to the next.

        passed: of the dense model, whose blocks these batches have been through.
        """
        self._loaded, self._dense, self._ran, self._passed = loaded, dense, ran, passed
        self.own, self.reference, self.divergence = Likelihood(), Likelihood(), Divergence()
        self.output, self.hidden, self.embeddings = RelativeError(), RelativeError(), Embeddings()
        self.sequences = self.tokens = 0

    def take(self, batch: Batch, number: int) -> None:
        """Run a batch through the model, or both. Raises InputError."""
        for one in whole_sequences(self._loaded, batch):
            ids = one.get("input_ids") if isinstance(one, Mapping) else None
            ours = outputs_of(self._loaded, one, number)
            self.sequences += ours.sequences
            if self._dense is None:
                for part in ours.parts:
                    self._take_part(part, ids)
                continue
            theirs = outputs_of(self._dense, one, number, self._ran, self._passed)
            for part, dense in zip(ours.parts, theirs.parts, strict=True):
                self._take_part(part, ids)
                self._compare(part, dense, ids)
            self._take_states(ours, theirs)

    def _take_part(self, part: Part, ids: torch.Tensor | None) -> None:
        self.tokens += len(part.rows())
        if self._loaded.causal and ids is not None:
            self.own.add(part.output, ids, part.real, part.start)

    def _compare(self, part: Part, dense: Part, ids: torch.Tensor | None) -> None:
        rows = dense.rows(), part.rows()
        self.output.add(*rows)
        if self._loaded.causal:
            self.divergence.add(*rows)
            if ids is not None:
                self.reference.add(dense.output, ids, dense.real, dense.start)

    def _take_states(self, ours: Outputs, theirs: Outputs) -> None:
        if ours.hidden is None or theirs.hidden is None:
            return
        states = theirs.hidden, ours.hidden
        self.hidden.add(*(rows_of(each, ours.real) for each in states))
        if not self._loaded.causal and ours.hidden.ndim == 3:
            self.embeddings.add(*states, ours.real)

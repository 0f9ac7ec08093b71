"""Pruning a model on a few samples in this process."""

import numpy as np
import torch

from maskgap.benchmarks.models.masks import Solved
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.models.load import load_model as load_any

X = torch.tensor([[1.0, 2, 0, -1], [0, 1, 3, 1], [2, 0, 1, 1], [1, -1, 1, 0]])


def samples(folder):
    """A file of inputs whose calibration and held-out halves are both X."""
    path = folder / "x.npy"
    np.save(path, torch.cat([X, X]).numpy())
    return path


def pruned(model, out, data, pattern="50%", solver="magnitude", layers="*", **options):
    """The reports of pruning a model with samples; options: of `Source`."""
    loaded = load_any(model)
    source = Source(data=Sampling([data]), **options)
    return prune_model(loaded, Solved(solver, pattern, {}), out, layers, source=source)

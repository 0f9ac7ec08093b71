"""Exact and heuristic solvers for pruning masks, and the gaps between them, certified.

    layer = maskgap.Layer.from_arrays(weight, gram)  # W (d_out, d_in), G = X X^T (d_in, d_in)
    maskgap.write_layer("layer.safetensors", layer)  # what the command takes
    rows = maskgap.solve(weight, gram, "50%", solver="swap")
    maskgap.bound(weight, gram, "50%", time_limit=60).total.gap
    maskgap.minimise(f, maskgap.oracles.milp(A, row_lower, row_upper, lower, upper, integrality))

Names are loaded when they are asked for: importing the package loads no library.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskgap import objectives, oracles
    from maskgap.benchmarks.interface.calls import bound, solve
    from maskgap.benchmarks.interface.judging import ProofVerdict, certify, check
    from maskgap.benchmarks.interface.problems import read_layer, write_layer
    from maskgap.benchmarks.layers.work import LayerWork
    from maskgap.benchmarks.models.live import PrunedModel, prune
    from maskgap.benchmarks.runs.judge import Judged
    from maskgap.benchmarks.verify.certificate import Certificate
    from maskgap.instances.errors import InputError, MaskgapError, Refused
    from maskgap.instances.layer import Layer
    from maskgap.solvers.convex.minimise import minimise
    from maskgap.solvers.convex.result import Minimised

    __version__: str

__all__ = [
    "Certificate",
    "InputError",
    "Judged",
    "Layer",
    "LayerWork",
    "MaskgapError",
    "Minimised",
    "ProofVerdict",
    "PrunedModel",
    "Refused",
    "__version__",
    "bound",
    "certify",
    "check",
    "minimise",
    "objectives",
    "oracles",
    "prune",
    "read_layer",
    "solve",
    "write_layer",
]

_HOMES = {
    "Certificate": "maskgap.benchmarks.verify.certificate",
    "InputError": "maskgap.instances.errors",
    "Judged": "maskgap.benchmarks.runs.judge",
    "Layer": "maskgap.instances.layer",
    "LayerWork": "maskgap.benchmarks.layers.work",
    "MaskgapError": "maskgap.instances.errors",
    "Minimised": "maskgap.solvers.convex.result",
    "ProofVerdict": "maskgap.benchmarks.interface.judging",
    "PrunedModel": "maskgap.benchmarks.models.live",
    "Refused": "maskgap.instances.errors",
    "bound": "maskgap.benchmarks.interface.calls",
    "certify": "maskgap.benchmarks.interface.judging",
    "check": "maskgap.benchmarks.interface.judging",
    "minimise": "maskgap.solvers.convex.minimise",
    "prune": "maskgap.benchmarks.models.live",
    "read_layer": "maskgap.benchmarks.interface.problems",
    "solve": "maskgap.benchmarks.interface.calls",
    "write_layer": "maskgap.benchmarks.interface.problems",
}
"""Where each name is defined."""

_MODULES = ("objectives", "oracles")
"""Modules of the face."""


if not TYPE_CHECKING:  # else every name would be taken for one of the package

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            value: object = version("maskgap")
        elif name in _MODULES:
            value = import_module(f"maskgap.{name}")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'maskgap' has no attribute '{name}'")
        globals()[name] = value  # asked for once
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

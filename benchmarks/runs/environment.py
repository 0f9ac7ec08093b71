"""Where a run took place: host, threads and package versions, for the record."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from maskgap.benchmarks.runs.source_digest import source_digest
from maskgap.instances.errors import InputError
from maskgap.solvers.kernels.cache import kernel_digest
from maskgap.solvers.registry import SPECS
from maskgap.solvers.spec import Spec

_PACKAGES = (
    "maskgap",
    "numpy",
    "scipy",
    "torch",
    "numba",
    "pyscipopt",
    "highspy",
    "cvxpy",
    "clarabel",
    "scs",
    "gurobipy",
)


@cache
def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def host() -> dict[str, str | int | float]:
    """Processor, cores, memory and Python of this machine."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def package_version(name: str) -> str | None:
    """Version of an installed distribution, None when it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that can change a result."""
    found = {name: package_version(name) for name in _PACKAGES}
    return {name: text for name, text in found.items() if text is not None}


@dataclass(frozen=True, slots=True)
class Place:
    """A machine that runs take place on: what `host` and `packages` say there."""

    host: dict[str, str | int | float]
    packages: dict[str, str]


def here() -> Place:
    """The machine of this process."""
    return Place(host(), packages())


def solver_version(spec: Spec) -> str:
    """The version of this package and those of the packages the solver stands on.

    Of one with compiled kernels also the digest of their sources, of one outside the register that
    of its own.
    """
    names = ("maskgap", *(package for _, package in spec.requires))
    told = [f"{name} {package_version(name) or 'absent'}" for name in names]
    if spec.compiled:
        told.append(f"kernels {kernel_digest()}")
    if spec.name not in SPECS:
        module = spec.target.partition(":")[0]
        told.append(f"{module} source {source_digest(module)}")
    return "; ".join(told)


def require_device(device: str) -> None:
    """Raise InputError unless torch can use a device here; the processor needs no torch."""
    if device == "cpu":
        return
    from maskgap.instances.models.devices import usable_device

    try:
        usable_device(device)
    except InputError as error:
        raise InputError(f"--device {device}: {error}") from None

"""The suites that ship with the package, by name."""

from importlib import resources
from pathlib import Path


def suite_names() -> list[str]:
    """Names of the suites, sorted."""
    folder = resources.files("maskgap.benchmarks.suites")
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".toml"))

"""Names that a shell completes. Each takes what was typed so far; little is loaded for them."""


def solver_names(incomplete: str) -> list[str]:
    """Registered solvers, after the last comma where several are given."""
    from maskgap.solvers.registry import SPECS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in SPECS if name.startswith(last)]


def objective_names(incomplete: str) -> list[str]:
    """What can be minimised."""
    from maskgap.instances.objective import ObjectiveName

    return [str(name) for name in ObjectiveName if name.startswith(incomplete)]


def suite_names(incomplete: str) -> list[str]:
    """Suites that ship with the package."""
    from maskgap.benchmarks.suites.names import suite_names as names

    return [name for name in names() if name.startswith(incomplete)]


def layer_names(incomplete: str) -> list[str]:
    """Layers that ship with the package; files are the shell's own."""
    from maskgap.instances.sources.shipped import names

    return [name for name in names() if name.startswith(incomplete)]

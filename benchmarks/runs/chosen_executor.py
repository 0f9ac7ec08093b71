"""From what a command is told to the executor that it means."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from maskgap.benchmarks.runs.placement import Placement
from maskgap.instances.errors import InputError, Refused

if TYPE_CHECKING:
    from maskgap.benchmarks.runs.cluster.client import Cluster


@contextmanager
def chosen_cluster(placement: Placement, say: Callable[[str], None]) -> Iterator["Cluster | None"]:
    """The cluster that a placement means, or None: processes of our own.

    say: takes lines for people. Raises InputError, and Refused where the package is absent.
    """
    name, scheduler = placement.executor, placement.scheduler
    if name not in ("local", "dask"):
        raise InputError(f"--executor {name}: expected local or dask")
    if name == "local":
        if scheduler is not None:
            raise InputError(f"--scheduler {scheduler} is for --executor dask; add that")
        yield None
        return
    if find_spec("distributed") is None:
        raise Refused("--executor dask is not installed: pip install maskgap[cluster]")
    from maskgap.benchmarks.runs.cluster.connection import connected

    with connected(placement, say) as cluster:
        cluster.jobs = math.inf if placement.jobs is None else placement.jobs
        yield cluster

"""Connecting to a dask cluster, at an address or on this machine, whose versions are ours."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster

from maskgap.benchmarks.runs.cluster.client import Cluster
from maskgap.benchmarks.runs.cluster.site import differs, versions
from maskgap.benchmarks.runs.placement import Placement
from maskgap.instances.errors import InputError

CONNECT_LIMIT_S = 10.0

_LASTING = {"distributed.deploy.lost-worker-timeout": "1 day"}
"""A cluster on this machine writes off a worker whose new start takes longer: 15 s if not told."""

_EXPECTED = "expected tcp://HOST:PORT, as `dask scheduler` prints it when it begins"


@contextmanager
def connected(placement: Placement, say: Callable[[str], None]) -> Iterator[Cluster]:
    """The cluster of a placement, gone at the end where it is one of our own.

    say: takes lines for people. Raises InputError when nobody answers at the address, or a
    machine's versions are others.
    """
    scheduler = placement.scheduler
    for name in ("distributed", "distributed.client"):  # what ends badly is said in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler is None:
            stack.enter_context(dask.config.set(_LASTING))
            address = stack.enter_context(
                LocalCluster(
                    n_workers=placement.workers,
                    threads_per_worker=placement.threads,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            )
        elif not re.fullmatch(r"\w+://.+:\d+", scheduler):
            raise InputError(f"--scheduler {scheduler}: {_EXPECTED}")
        try:
            client = Client(address, timeout=CONNECT_LIMIT_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"--scheduler {scheduler}: no dask scheduler answers there ({error}); {_EXPECTED}"
            ) from None
        stack.enter_context(client)
        _agree(client)
        cluster = Cluster(client, placement.capped, scheduler is None, say)
        stack.callback(cluster.close)
        yield cluster


def _agree(client: Any) -> None:
    """Refuse machines where a run may mean something else. Workers that join later say so.

    Of the scheduler nothing is asked but that it can read what it passes on. Raises InputError.
    """
    ours = versions()
    told = client.get_versions(packages=[name for name in ours if name != "python"])
    for where, found in {"the scheduler": told["scheduler"], **told["workers"]}.items():
        theirs = {name: found["packages"].get(name) or "absent" for name in ours}
        theirs["python"] = ".".join(found["host"]["python"].split(".")[:3])
        asked = ours if where in told["workers"] else ("python", "maskgap")
        for name in asked:
            if theirs[name] != ours[name]:
                raise InputError(differs(where, name, theirs[name], ours[name]))

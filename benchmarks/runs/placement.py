"""Where runs are to take place, as a command is told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """Processes of this machine, or the workers of a dask cluster.

    executor: local or dask. scheduler: address of a cluster; None: one of our own on this machine,
    with so many worker processes of so many threads each. jobs: runs at a time on it, None for as
    many as there is room for. capped: whether each run may take its share of its worker's memory
    only.
    """

    executor: str = "local"
    scheduler: str | None = None
    workers: int = 1
    threads: int = 1
    jobs: int | None = None
    capped: bool = False

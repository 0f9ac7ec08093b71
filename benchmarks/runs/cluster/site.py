"""What a dask worker does for one command: it holds the layers and starts a process for each run.

A `Site` is a plugin of the worker, set up when the command begins or the worker joins, and taken
away when the command ends. A dask task is one run: it comes without its layer, of which the site
keeps a copy, for which it asks the command when it has none. The run is started by `Pool`, as it
would be on the machine of the command, and is killed when nobody waits for it any more.
"""

import math
import multiprocessing
import platform
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import psutil
from distributed import Reschedule, WorkerPlugin, get_worker

from maskgap.benchmarks.runs.environment import cores, here, package_version
from maskgap.benchmarks.runs.pool import MEMORY_SHARE, Pool
from maskgap.benchmarks.runs.run_process import GRACE_S
from maskgap.benchmarks.runs.sharing import bare, share
from maskgap.benchmarks.runs.source_digest import source_digest
from maskgap.benchmarks.runs.task import Outcome, Task
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.solvers.kernels.cache import kernel_digest
from maskgap.solvers.kernels.wanted import Wanted
from maskgap.solvers.registry import SPECS


@dataclass(frozen=True, eq=False)
class Parcel:
    """A layer on its way to a worker, where it arrives in memory that the runs share."""

    name: str
    layer: Layer

    def __reduce__(self) -> Any:
        """All of the layer that solvers see."""
        seen = self.layer.as_seen()
        told = {"meta": dict(seen.meta), "name": seen.name, "gram_roundoff": seen.gram_roundoff}
        return _unpacked, (self.name, seen.arrays(), told)


def _unpacked(name: str, arrays: dict[str, Any], told: dict[str, Any]) -> Parcel:
    return Parcel(name, share(Layer(**arrays, **told)))


ASK_INTERVAL_S = 20.0
"""After this time a layer that has not come is asked for again."""

ASK_LIMIT_S = 300.0
"""After this time a run is handed back to the scheduler, for want of its layer."""


def light(task: Task) -> Task:
    """The task without its layer's matrices, and with the start masks of its own rows alone."""
    problem, start = task.problem, task.problem.start
    if start is not None:
        start = Kept(start[problem.rows.start : problem.rows.stop])
    return replace(task, problem=replace(problem, layer=bare(problem.layer), start=start))


def _whole(task: Task, layer: Layer) -> Task:
    """What `light` was given; start masks of other rows, which nobody looks at, are all True."""
    problem, start = task.problem, None
    if problem.start is not None:
        start = Kept(np.ones(layer.weight.shape, dtype=bool))
        start[problem.rows.start : problem.rows.stop] = problem.start
    return replace(task, problem=replace(problem, layer=layer, start=start))


@cache
def versions() -> dict[str, str]:
    """Python and the packages that name a run's key: where they differ, so may its results."""
    names = {package for spec in SPECS.values() for _, package in spec.requires}
    found = {name: package_version(name) or "absent" for name in ("maskgap", *sorted(names))}
    return {"python": platform.python_version(), **found}


def sources(modules: Sequence[str]) -> dict[str, str]:
    """Digests of sources that name a run's key: of kernels, and of modules of the user's own."""
    ours = {spec.target.partition(":")[0] for spec in SPECS.values()}
    own = (module for module in modules if module not in ours)
    return {"kernels": kernel_digest(), **{f"source of {m}": source_digest(m) for m in own}}


class Site(WorkerPlugin):
    """The runs of one command on one worker.

    name: of the plugin, and of the topic under which it asks for layers: a message is its worker's
    address and the layer's name. modules: what runs need loaded. wanted: the `versions` and
    `sources` of the command. capped: whether runs have a cap of memory. private: whether the worker
    belongs to the command, and its signals with it.
    """

    def __init__(
        self,
        name: str,
        modules: Sequence[str],
        wanted: Mapping[str, str],
        capped: bool,
        private: bool,
    ) -> None:
        self.name = name
        self.modules, self.wanted = list(modules), dict(wanted)
        self.capped, self.private = capped, private

    def setup(self, worker: Any) -> None:
        """Begin on a worker."""
        self._worker = worker
        self._layers: dict[str, Layer] = {}
        self._asked: dict[str, float] = {}
        self._arrival = threading.Condition()
        self._pools: dict[str, Pool] = {}
        self._interrupted = False
        self._threads = worker.state.nthreads
        self._free = threading.Condition()
        self._unused = self._threads
        # A worker of a nanny may have no children, which it might leave behind: runs see to that.
        multiprocessing.current_process().daemon = False
        if self.private and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everyone

    def teardown(self, worker: Any) -> None:
        """End what is under way."""
        self.interrupt(0.0)
        self._layers.clear()

    def transition(self, key: Any, start: Any, finish: Any, **more: Any) -> None:
        """Keep each layer that arrives; kill a run that the scheduler has given up."""
        if finish == "memory":
            value = self._worker.data.get(key)
            if isinstance(value, Parcel):
                with self._arrival:
                    self._layers[value.name] = value.layer
                    self._arrival.notify_all()
        elif finish in ("cancelled", "released") and key in self._pools:
            self._pools[key].interrupt(0.0)

    def interrupt(self, grace_s: float = GRACE_S) -> None:
        """End the runs under way within `grace_s`, and start no other."""
        self._interrupted = True
        for pool in list(self._pools.values()):
            pool.interrupt(grace_s)

    def settings(self, wanted: Sequence[Wanted]) -> Any:
        """What `Executor.settings` returns, or the InputError it raises."""
        pool = self._pool(1)
        try:
            return pool.settings(wanted)
        except InputError as error:
            return error

    def run(self, key: str, layer: str, task: Task) -> Outcome | InputError | None:
        """The outcome of a run, or the error it raised; None when an interrupt came before it."""
        for name, version in {**versions(), **sources(self.modules)}.items():
            if version != self.wanted.get(name):
                return InputError(differs(self._worker.address, name, version, self.wanted[name]))
        task = _whole(task, self._layer(layer))
        pool = self._pool(task.limits.threads)
        self._pools[key] = pool
        try:
            with self._room(task.limits.threads):
                if self._interrupted:
                    return None
                found = [outcome for _, outcome in pool.outcomes([task])]
        except InputError as error:
            return error
        finally:
            del self._pools[key]
        if pool.interrupted and not self._interrupted:
            raise Reschedule  # given up; should the scheduler want it after all, it starts anew
        return replace(found[0], place=here()) if found else None

    def _layer(self, name: str) -> Layer:
        """A layer, asked for when it is not there."""
        give_up_at = time.monotonic() + ASK_LIMIT_S
        with self._arrival:
            while name not in self._layers:
                now = time.monotonic()
                if now >= give_up_at:
                    raise TimeoutError(f"the layer did not come within {ASK_LIMIT_S:g} s")
                if now - self._asked.get(name, -math.inf) >= ASK_INTERVAL_S:
                    self._asked[name] = now
                    self._worker.log_event(self.name, (self._worker.address, name))
                self._arrival.wait(1.0)
            return self._layers[name]

    def _pool(self, threads: int) -> Pool:
        memory = None
        if self.capped:
            limit = self._worker.memory_manager.memory_limit
            share_of_worker = threads / self._threads
            if not limit:
                limit = psutil.virtual_memory().total * min(1.0, self._threads / cores())
            memory = int(limit * MEMORY_SHARE * share_of_worker)
        pool = Pool(1, threads, memory)
        pool.preload(self.modules)
        return pool

    @contextmanager
    def _room(self, threads: int) -> Iterator[None]:
        """Wait until so many threads of the worker are unused, and use them."""
        threads = min(threads, self._threads)
        with self._free:
            self._free.wait_for(lambda: self._unused >= threads)
            self._unused -= threads
        try:
            yield
        finally:
            with self._free:
                self._unused += threads
                self._free.notify_all()


def differs(where: str, name: str, theirs: str, ours: str) -> str:
    """The line about versions that do not agree."""
    return f"{where} has {name} {theirs}, this machine {ours}; use the same environment on both"


# What the command calls on workers and the scheduler. site: the name of its plugin.


def run_there(site: str, key: str, layer: str, task: Task) -> Any:
    """Do a run. See `Site.run`."""
    return get_worker().plugins[site].run(key, layer, task)  # type: ignore[attr-defined]


def settings_there(site: str, wanted: Sequence[Wanted]) -> Any:
    """See `Site.settings`."""
    return get_worker().plugins[site].settings(wanted)  # type: ignore[attr-defined]


def interrupt_there(site: str, dask_worker: Any) -> None:
    """Pass an interrupt on. See `Site.interrupt`."""
    if site in dask_worker.plugins:
        dask_worker.plugins[site].interrupt()


def abandoned(prefix: str, dask_scheduler: Any) -> list[str]:
    """The sites, named `prefix` and a client, whose command is gone without a word."""
    return [
        name
        for name in dask_scheduler.worker_plugins
        if name.startswith(prefix) and name.removeprefix(prefix) not in dask_scheduler.clients
    ]

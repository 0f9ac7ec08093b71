"""Runs on the workers of a dask cluster: an executor.

Each run is one dask task, and no more are sent off than the workers have threads for. Where a task
goes is dask's business: to the worker with least to do, and to another when a worker dies. A task
that has seen several workers die is given up by dask. Where many die at once, as in a preemption,
that may come to a run that had no part in it: so it gets a second time when things are calm, and is
recorded as a crash if that ends as the first. A run that crashes does not harm its worker, so it is
an outcome like any other and is not repeated. A layer is sent to all workers before its first run,
and to a worker that asks for it later. Nothing but this process writes results, each of which it
takes once.
"""

import math
import queue
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from distributed import Future, KilledWorker

from maskgap.benchmarks.runs.cluster.site import (
    Parcel,
    Site,
    abandoned,
    interrupt_there,
    light,
    run_there,
    settings_there,
    sources,
    versions,
)
from maskgap.benchmarks.runs.environment import Place
from maskgap.benchmarks.runs.executor import Interrupts
from maskgap.benchmarks.runs.run_process import GRACE_S
from maskgap.benchmarks.runs.task import KnownSettings, Outcome, Task, failed
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.solvers.kernels.wanted import Wanted
from maskgap.solvers.protocol import Stop
from maskgap.solvers.registry import SPECS

LOOK_INTERVAL_S = 1.0
"""How often the scheduler is asked which workers there are."""

INTERRUPT_LIMIT_S = GRACE_S + 10.0
"""How long runs on workers have to answer an interrupt; after that they are given up."""

CALM_S = 3.0
"""For how long nothing is sent off when dask has given up a run."""

HARNESS_RETRIES = 2
"""How often a run is tried again that a worker could not start or see through."""

_PREFIX = "maskgap-"


@dataclass(frozen=True, slots=True)
class _Flight:
    """A task under way: its place among the tasks, and its future."""

    index: int
    task: Task
    future: "Future[Any]"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a worker says that has not got a layer, by its name."""

    address: str
    layer: str


class Cluster(Interrupts):
    """Runs tasks on the workers of a dask scheduler, `jobs` at a time where that is a number.

    capped: whether each run may take its share of its worker's memory only. private: whether the
    cluster is the command's own. say: takes lines for people.
    """

    def __init__(
        self, client: Any, capped: bool, private: bool, say: Callable[[str], None]
    ) -> None:
        self.jobs: float = math.inf
        self._client, self._capped, self._private, self._say = client, capped, private, say
        self._site = f"{_PREFIX}{client.id}"
        self._layers: dict[int, tuple[str, Layer]] = {}
        self._results: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._flights: dict[str, _Flight] = {}
        self._sent = 0
        self._workers: dict[str, int] = {}
        self._looked_at = -math.inf
        self._waiting = False
        self._suspects: set[int] = set()
        self._calm_at = -math.inf
        self._address: str = client.scheduler.address
        for name in client.run_on_scheduler(abandoned, _PREFIX):
            client.unregister_worker_plugin(name)
        client.subscribe_topic(self._site, self._heard)

    def preload(self, modules: Sequence[str]) -> None:
        """See `Executor`. A worker of others may serve other commands, so it loads all solvers."""
        known: set[str] = set()
        if not self._private:
            installed = [spec for spec in SPECS.values() if spec.missing is None]
            known = {spec.target.partition(":")[0] for spec in installed}
        needed = sorted(known.union(modules))
        wanted = {**versions(), **sources(needed)}
        site = Site(self._site, needed, wanted, self._capped, self._private)
        self._client.register_plugin(site, name=self._site)

    def warm(self, wanted: Sequence[Wanted]) -> None:
        """See `Executor`: each worker sees to its own."""

    def prepare(self) -> float:
        """See `Executor`: each worker sees to its own."""
        return 0.0

    def threads(self, wanted: int) -> int:
        """See `Executor`: those of the widest worker, once there is one."""
        self._look()
        while not self._workers:
            time.sleep(0.2)
            self._look()
        return min(wanted, max(self._workers.values()))

    def settings(self, wanted: Sequence[Wanted]) -> list[KnownSettings]:
        """See `Executor`."""
        self._look()
        task = self._client.submit(settings_there, self._site, list(wanted), pure=False)
        told: list[KnownSettings] | InputError = self._ask(task.result)
        if isinstance(told, InputError):
            raise told
        return told

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """See `Executor`."""
        source = iter(enumerate(tasks))
        ready: deque[tuple[int, Task]] = deque()
        over, give_up_at = False, math.inf
        self._suspects.clear()
        with self.watched():
            try:
                while True:
                    if not self.interrupted:
                        over = self._send_off(source, ready)
                    elif give_up_at == math.inf:
                        give_up_at = time.perf_counter() + INTERRUPT_LIMIT_S
                        self._ask(self._client.run, interrupt_there, self._site, on_error="ignore")
                    done = not self._flights and (self.interrupted or (over and not ready))
                    if done or time.perf_counter() > give_up_at:
                        return
                    flight, result = self._landed()
                    if flight is None:
                        continue
                    outcome = self._outcome(flight, result)
                    if outcome is not None:
                        yield flight.index, outcome
                    else:
                        ready.append((flight.index, flight.task))
            finally:
                futures = [flight.future for flight in self._flights.values()]
                self._flights.clear()
                if futures:
                    with suppress(InputError):
                        self._ask(self._client.cancel, futures, force=True)

    def close(self) -> None:
        """Leave nothing of this command on the workers."""
        with suppress(InputError):
            self._ask(self._client.unregister_worker_plugin, self._site)

    def _ask(self, call: Callable[..., Any], *words: Any, **more: Any) -> Any:
        """What a method of the client says. Raises InputError when the scheduler is gone."""
        try:
            return call(*words, **more)
        except (OSError, RuntimeError, CancelledError):  # of a client that is closed, too
            raise self._gone() from None

    def _gone(self) -> InputError:
        return InputError(
            f"the scheduler at {self._address} is gone; when there is one again, the same command "
            "goes on from what is recorded"
        )

    def _send_off(self, source: Iterator[tuple[int, Task]], ready: deque[tuple[int, Task]]) -> bool:
        """Send off what there is room for; whether there is nothing more to take."""
        if time.perf_counter() < self._calm_at:
            return False
        while len(self._flights) < self.jobs:
            if not ready:
                if self._flights and not self._has_room(1):
                    return False
                item = next(source, None)
                if item is None:
                    return True
                ready.append(item)
            index, task = ready[0]
            if not self._has_room(task.limits.threads):
                return False
            ready.popleft()
            self._sent += 1
            key = f"{self._site}-{self._sent}"
            future = self._client.submit(
                run_there,
                self._site,
                key,
                self._delivered(task.problem.layer),
                light(task),
                key=key,
                pure=False,
                retries=HARNESS_RETRIES,
            )
            self._flights[key] = _Flight(index, task, future)
            self._client.loop.add_callback(self._follow, key, future)
        return False

    def _heard(self, event: tuple[float, tuple[str, str]]) -> None:
        """Put down what a worker asks for, in the client's thread."""
        self._results.put(("", _Wanted(*event[1])))

    async def _follow(self, key: str, future: "Future[Any]") -> None:
        """Wait for a task and its result in the client's thread, whatever becomes of them."""
        result: Any
        try:
            result = await future
        except (Exception, CancelledError) as error:
            result = error
        self._results.put((key, result))

    def _landed(self) -> tuple[_Flight, Any] | tuple[None, None]:
        """A task that has come to an end with its result, should there be one soon."""
        try:
            key, result = self._results.get(timeout=0.2)
        except queue.Empty:
            return None, None
        if isinstance(result, _Wanted):
            layers = (layer for name, layer in self._layers.values() if name == result.layer)
            self._deliver(next(layers), result.address)
        flight = self._flights.pop(key, None)  # none: of an iteration that was left
        return (None, None) if flight is None else (flight, result)

    def _outcome(self, flight: _Flight, result: Any) -> Outcome | None:
        """The outcome of a task, None when it is to be sent again. Raises InputError."""
        if isinstance(result, Outcome) or result is None:
            return result
        if isinstance(result, InputError):
            raise result
        if isinstance(result, CancelledError):
            raise self._gone()
        if isinstance(result, KilledWorker):
            self._calm_at = time.perf_counter() + CALM_S
            if flight.index not in self._suspects:
                self._suspects.add(flight.index)
                return None
            reason = "every worker that ran it died, several one after another"
        else:
            reason = f"no worker could run it: {type(result).__name__}: {result}"
        return replace(failed(flight.task, Stop.CRASHED, reason), place=Place({}, {}))

    def _has_room(self, threads: int) -> bool:
        """Whether the workers can take a run of so many threads, each of which is one worker's.

        Raises InputError when there are workers, and none has so many.
        """
        self._look()
        if self._workers and max(self._workers.values()) < threads:
            raise InputError(
                f"a run takes {threads} threads, and no worker has more than "
                f"{max(self._workers.values())}; start workers with --nthreads {threads}"
            )
        of_use = sum(count - count % threads for count in self._workers.values())
        used = sum(flight.task.limits.threads for flight in self._flights.values())
        return of_use - used >= threads

    def _look(self) -> None:
        """See which workers there are, now and then."""
        if time.perf_counter() - self._looked_at < LOOK_INTERVAL_S:
            return
        self._workers = self._ask(self._client.nthreads)
        self._looked_at = time.perf_counter()
        if not self._workers and not self._waiting:
            self._say(f"no worker at {self._address} yet; waiting for one")
        self._waiting = not self._workers

    def _delivered(self, layer: Layer) -> str:
        """The name of a layer that was sent to the workers, now if it was not before."""
        if id(layer) not in self._layers:
            self._layers[id(layer)] = (f"layer-{len(self._layers)}", layer)
            self._deliver(layer)
        return self._layers[id(layer)][0]

    def _deliver(self, layer: Layer, address: str | None = None) -> None:
        """Send a layer to a worker, or to all. Who does not get it will say so."""
        name, _ = self._layers[id(layer)]
        parcel = {f"{self._site}-{name}-{uuid4().hex}": Parcel(name, layer)}
        with suppress(OSError, KeyError):  # workers that are gone by now
            self._client.scatter(
                parcel, workers=address and [address], broadcast=address is None, hash=False
            )

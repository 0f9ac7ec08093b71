"""The options that say what a run may take, as they are given and as a run gets them."""

from dataclasses import dataclass

from maskgap.benchmarks.commands.numbers import check_numbers
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.task import RunLimits


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """As given. time_limit: seconds. threads: None for all cores. device: torch's name of it."""

    time_limit: float = 60.0
    gap: float = 1e-6
    seed: int = 0
    threads: int | None = None
    device: str = "cpu"

    def checked(self) -> RunLimits:
        """As a run gets them. Raises InputError with one line for the first out of range."""
        check_numbers(self.time_limit, self.gap, self.seed, self.threads)
        threads = self.threads or cores()
        return RunLimits(self.time_limit, self.gap, threads, self.device, self.seed)

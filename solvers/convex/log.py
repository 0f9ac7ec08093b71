"""The lines that a search prints when it is asked to."""

from maskgap.solvers.convex.result import State, relative_gap

HEAD = f"{'seconds':>9} {'nodes':>8} {'open':>7} {'objective':>17} {'bound':>17} {'gap':>9}"


class Log:
    """Prints a head once, and a line each time it is told a state."""

    def __init__(self, wanted: bool) -> None:
        self._wanted, self._begun = wanted, False

    def line(self, state: State) -> None:
        """Print a line."""
        if not self._wanted:
            return
        if not self._begun:
            print(HEAD, flush=True)
            self._begun = True
        print(
            f"{state.seconds:9.2f} {state.nodes:8d} {state.open_nodes:7d} {state.objective:17.10g} "
            f"{state.bound:17.10g} {relative_gap(state.objective, state.bound):9.2e}",
            flush=True,
        )

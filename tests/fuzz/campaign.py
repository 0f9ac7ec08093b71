"""Many problems and altered proof files, in processes, by ranges of seeds.

Prints where it is every few seconds; a run that ended early goes on with `--first`. Ends with what
was done and with each fault and its seed; exit code 1 where there is a fault.
"""

import argparse
import multiprocessing
import signal
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor

from threadpoolctl import threadpool_limits

from tests.fuzz.files import run_file
from tests.fuzz.refits import run_refit
from tests.fuzz.runs import Tally, run_problem

CHUNK = 50
SECONDS_A_SEED = 600
"""After which a seed is said to hang; the first ones compile kernels."""
REPORT_S = 20.0


def main():
    """Run from the command line: its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--problems", type=int, default=0, help="seeds of problems")
    parser.add_argument("--proofs", type=int, default=0, help="seeds of altered proof files")
    parser.add_argument("--refits", type=int, default=0, help="seeds of problems under refit")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    faults = 0
    if asked.problems:
        faults += _report("problems", run_problem, asked.first, asked.problems, asked.processes)
    if asked.proofs:
        faults += _report("proofs", run_file, asked.first, asked.proofs, asked.processes)
    if asked.refits:
        faults += _report("refits", run_refit, asked.first, asked.refits, asked.processes)
    return 1 if faults else 0


def _report(name, one, first, count, processes):
    """Run seeds first ... first + count - 1; the number of faults."""
    total, start, shown, done = Tally(), time.perf_counter(), 0.0, 0
    chunks = [
        (one, seed, min(seed + CHUNK, first + count)) for seed in range(first, first + count, CHUNK)
    ]
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, fresh, _begin) as pool:
        for (_, low, high), tally in zip(chunks, pool.map(_chunk, chunks), strict=True):
            total.add(tally)
            done += high - low
            for fault in tally.faults:
                print(f"FAULT {fault}", flush=True)
            seconds = time.perf_counter() - start
            if seconds - shown > REPORT_S or done == count:
                shown = seconds
                print(
                    f"{name}: {done} of {count} in {seconds:.0f} s, faults {len(total.faults)}; "
                    f"next --first {high}",
                    flush=True,
                )
    print(f"{name}: {dict(sorted(total.counts.items()))}")
    if total.pairs:
        print(f"{name}: {len(total.pairs)} pairs of solver and kind of pattern")
    print(
        f"{name}: {count} seeds, false accepts {total.counts['false accepts']}, faults "
        f"{len(total.faults)}, {time.perf_counter() - start:.0f} s"
    )
    return len(total.faults)


def _begin():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _late)
    warnings.simplefilter("error")
    threadpool_limits(1)


def _late(*_):
    raise TimeoutError(f"no answer within {SECONDS_A_SEED} s")


def _chunk(task):
    one, low, high = task
    total = Tally()
    for seed in range(low, high):
        signal.alarm(SECONDS_A_SEED)
        try:
            total.add(one(seed))
        except Exception:  # a fault of the seed like any other: it is shown with its traceback
            total.faults.append(f"seed {seed}: {traceback.format_exc()}")
        finally:
            signal.alarm(0)
    return total

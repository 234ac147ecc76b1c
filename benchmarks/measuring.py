"""Runs commands and measures each as a whole process: wall-clock time, processor time, peak memory.

The measuring process must stay small: Linux counts the memory of the process that starts another into the other's
peak. So nothing here, nor in ``__main__``, imports edgewright. Called by ``__main__``, ``plans`` and ``datasets``.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Command = Sequence[str]


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from start to end."""

    seconds: float
    """Wall clock."""
    cpu_seconds: float
    """Of the process and those it waited for."""
    peak_mib: float
    """Resident memory."""
    output: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Several runs of the same command."""

    seconds: float
    """Median wall clock."""
    best: float
    """Shortest wall clock."""
    cpu_seconds: float
    """Median."""
    peak_mib: float
    """Largest."""


def run(command: Command, folder: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end.

    Raises:
        RuntimeError: It ended with another exit code than 0.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not look for it any more
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode} in {folder}\n{output}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def summarize(runs: Sequence[Run]) -> Figures:
    """Put runs of the same command together."""
    return Figures(
        seconds=statistics.median(run.seconds for run in runs),
        best=min(run.seconds for run in runs),
        cpu_seconds=statistics.median(run.cpu_seconds for run in runs),
        peak_mib=max(run.peak_mib for run in runs),
    )


def alternate(times: int, *commands: Callable[[], Run]) -> list[Figures]:
    """Measure commands in turns, so that a busy moment of the machine meets all of them; each has a run to warm up."""
    found: list[list[Run]] = [[] for _ in commands]
    for number in range(times + 1):
        for command, runs in zip(commands, found, strict=True):
            ran = command()
            if number:
                runs.append(ran)
    return [summarize(runs) for runs in found]

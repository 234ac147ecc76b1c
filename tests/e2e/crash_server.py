"""A process that has imported everything and forks one child for each run, so that a hundred crashes take seconds.

``test_apply_crashes`` starts it with one line of JSON on stdin: the world that every scenario starts from, where their
folders go, and the series of points. It answers with one line of JSON for the run that nothing ends, and then one
for each point, as they come to their end.
"""

import gc
import json
import os
import random
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from e2e.crash_points import Fuse, Series
from e2e.crash_work import Ended, apply, facts, work

AT_ONCE = 3
"""Scenarios that run at the same time: runs wait for the disk and for the reconciler's ticks."""
AGAIN = 0.3
"""In how many scenarios, as a share, the run that goes on after the crash is ended too."""


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.readline())
    template, folder = Path(request["template"]), Path(request["folder"])
    series = Series(request["series"])
    reference = _warm_up(template, folder / "reference", series)
    names = reference["runs"][0]["points"]
    _say({"point": "", **reference})
    points = list(range(1, len(names) + 1)) if request["all"] else _chosen(series, names)
    running: dict[int, int] = {}
    while points or running:
        while points and len(running) < AT_ONCE:
            at = points.pop(0)
            place = folder / f"{series}-{at}"
            running[_fork(partial(_scenario, template, place, series, at, request["seed"]))] = at
        pid, status = os.wait()
        at = running.pop(pid)
        place = folder / f"{series}-{at}"
        answer = place.with_suffix(".json")
        _say(
            {
                "point": f"{at} ({names[at - 1]})",
                "code": os.waitstatus_to_exitcode(status),
                "log": place.with_suffix(".log").read_text()[-4000:],
                **(json.loads(answer.read_text()) if answer.exists() else {}),
            }
        )
        shutil.rmtree(place, ignore_errors=True)


def _warm_up(template: Path, place: Path, series: Series) -> dict[str, Any]:
    """Run once in this process, so that children find everything imported and compiled; that is the reference."""
    shutil.copytree(template, place, symlinks=True)
    ended = apply(place, Fuse(series))
    found = {"runs": [_told(ended)], "facts": facts(place), "work": work(place)}
    gc.collect()
    gc.freeze()  # children then leave the pages of what is there alone
    return found


def _chosen(series: Series, names: Sequence[str]) -> list[int]:
    """Choose points for a run of minutes.

    Between two calls a run may end after the first or before the second, which leaves the same behind: ``before`` and
    ``after`` take turns, so that together they end it once at every boundary. Of files, the first operation of each
    kind on each kind of file, and the last of those that make files visible.
    """
    if series is not Series.FILES:
        return list(range(1, len(names) + 1, 2))
    kinds: dict[str, list[int]] = {}
    for number, name in enumerate(names, 1):
        kinds.setdefault(re.sub(r"[0-9a-f]{64}|\b[0-9a-f]{2}\b|[0-9-]+", "…", name), []).append(number)
    last = {numbers[-1] for kind, numbers in kinds.items() if kind.startswith("rename ")}
    return sorted({numbers[0] for numbers in kinds.values()} | last)


def _scenario(template: Path, place: Path, series: Series, at: int, seed: int) -> int:
    """Crash at a point, perhaps crash once more on the way on, then run to the end; write what came out."""
    _redirect(place.with_suffix(".log"))
    shutil.copytree(template, place, symlinks=True)
    chance = random.Random(f"{seed} {series} {at}")
    fuses = [Fuse(series, at)]
    if chance.random() < AGAIN:
        fuses.append(Fuse(chance.choice(list(Series)), chance.randint(1, 40)))
    runs: list[dict[str, Any]] = []
    for fuse in fuses:
        ended = place.with_suffix(".ended")
        ended.unlink(missing_ok=True)
        pid = _fork(partial(_run, place, fuse, ended))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        runs.append(json.loads(ended.read_text()) if ended.exists() else {"code": code, "series": fuse.series})
    runs.append(_told(apply(place, Fuse(series))))
    answer = {"runs": runs, "facts": facts(place), "work": work(place)}
    place.with_suffix(".json").write_text(json.dumps(answer))
    return 0


def _run(place: Path, fuse: Fuse, ended: Path) -> int:
    ended.write_text(json.dumps(_told(apply(place, fuse))))
    return 0


def _told(ended: Ended) -> dict[str, Any]:
    failures = [f"{failure.step}: {failure.error}" for failure in ended.outcome.failures]
    notes = [note.message for note in ended.outcome.plan.notes]
    return {"code": 0, "converged": ended.outcome.converged, "points": ended.points, "why": failures + notes}


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _fork(run: Callable[[], int]) -> int:
    """Run in a child; returns its id. The child ends without touching what it shares with this process."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = run()
    except BaseException:  # noqa: BLE001 - the child ends here, whatever it is, and the log tells
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(handle, standard)
    os.close(handle)


if __name__ == "__main__":
    main()

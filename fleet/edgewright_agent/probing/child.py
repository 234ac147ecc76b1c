"""The process that runs golden samples: a model that crashes the runtime, or never ends, takes only this one down.

Started by ``prober`` as ``python -m edgewright_agent.probing.child``. Reads one JSON object from stdin, writes one to
stdout; whatever the runtime prints goes to stderr.
"""

import contextlib
import json
import math
import os
import resource
import signal
import sys
from pathlib import Path

from edgewright_agent.errors import AgentError
from edgewright_agent.handle import ModelHandle
from edgewright_agent.probing.golden import judge, probe_slot
from edgewright_agent.probing.outcomes import ProbeOutcome
from edgewright_agent.runtime import load_runtime


def enter_limits(memory: int | None) -> None:
    """Bound this process's memory, and have the kernel end it before anything else of the device.

    Args:
        memory: Bytes of its own; None: half of the device's. Where a system knows no such limits, there are none.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if memory is None:
        with contextlib.suppress(ValueError, OSError):
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if memory is not None:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def main() -> None:
    """Run one task."""
    answer = os.dup(1)
    os.dup2(2, 1)
    task = json.load(sys.stdin)
    # Ends this process even inside the runtime's own code, and even when the agent has been killed.
    signal.alarm(math.ceil(task["timeout"]) + 1)
    enter_limits(task.get("memory"))
    try:
        runtime = load_runtime(task["runtime"], tuple(task["pythonPath"]))
        if "slot" in task:
            outcome = probe_slot(Path(task["slot"]), runtime)
        else:
            handle = ModelHandle(task["device"], task["model"], runtime)
            outcome = judge(handle.current.path, handle.run, runtime.describe())
    except AgentError as error:
        outcome = ProbeOutcome(False, 0, 0.0, task["runtime"], reason=error.reason, message=error.message)
    os.write(answer, outcome.to_json().encode())


if __name__ == "__main__":
    main()

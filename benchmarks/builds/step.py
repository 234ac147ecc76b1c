"""One build step in this process: ``python step.py TASK.json`` prints its wall-clock and processor time, imports aside.

A file and not a module, so that it runs with the engine of an earlier commit too.
"""

import importlib
import json
import sys
import time
from pathlib import Path

from edgewright.core.address import parse_address
from edgewright.core.artifact import Action
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.pipeline.runner.worker import STEPS, Channel, run_step


def main() -> None:
    """Run the step that the file describes: action, address, spec, checkout and workdir."""
    value = json.loads(Path(sys.argv[1]).read_text())
    action = Action(value["action"])
    task = StagedTask(
        action=action,
        address=parse_address(value["address"]),
        fingerprint="sha256:" + "1" * 64,
        spec=value["spec"],
        checkout=Path(value["checkout"]),
        inputs={},
        facts={},
        workdir=Path(value["workdir"]),
    )
    importlib.import_module(STEPS[action].partition(":")[0])
    started, cpu = time.perf_counter(), time.process_time()
    run_step(task, Channel(None))
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()

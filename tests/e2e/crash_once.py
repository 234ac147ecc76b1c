"""One run in a process of its own that ends itself at a point; started by ``test_apply_crashes``.

Arguments: the spec repository, whether builder and devices are simulated (``simulated`` or ``real``), and the call to
end before, such as ``record_artifact train``; without it the run comes to its end.
"""

import sys
from pathlib import Path

from e2e.crash_points import Fuse, Series
from e2e.crash_work import apply
from edgewright.cli.console import stderr
from edgewright.cli.progress import listener_for

if __name__ == "__main__":
    folder, world, *on = sys.argv[1:]
    with listener_for(stderr()) as listener:
        fuse = Fuse(Series.BEFORE, on=on[0] if on else None)
        ended = apply(Path(folder), fuse, simulated=world == "simulated", listener=listener)
    sys.exit(0 if ended.outcome.converged else 4)

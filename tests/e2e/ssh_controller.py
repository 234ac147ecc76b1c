"""A controller's process that goes to one device over SSH once, and may be killed on the way. Run by test_ssh_crashes.

``python ssh_controller.py PLAN``, where PLAN is a JSON file: ``folder`` (as rigs.base.Grounds lays it out), ``route``
(fleet, delivery, device), and ``die``: before which change of the store, or after which, the process kills itself.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.driver import SshDriver
from edgewright.delivery.repository.depot import Depot
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlTwins
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.fleet import Device


class MortalTwins(SqlTwins):
    """Ends the process at one of its changes, as kill -9 would."""

    def __init__(self, state: SqlState, when: str, number: int) -> None:
        super().__init__(state)
        self._when = when
        self._number = number
        self.changes = 0

    def change(self, device: str, system: str, work: Callable[[Twin], Twin | None]) -> Twin | None:
        self.changes += 1
        if (self._when, self._number) == ("before", self.changes):
            os.kill(os.getpid(), signal.SIGKILL)
        changed = super().change(device, system, work)
        if (self._when, self._number) == ("after", self.changes):
            os.kill(os.getpid(), signal.SIGKILL)
        return changed


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(plan["folder"])
    when, number = plan["die"]
    route = Route("stores", Delivery.model_validate(plan["delivery"]), Device.model_validate(plan["device"]))
    state = SqlState(folder / "state.db")
    twins = MortalTwins(state, when, number)
    driver = SshDriver(
        twins,
        Depot(folder / "repository"),
        lambda: {route.device.id: route},
        lambda: datetime.now(UTC),
        folder / "keys",
        lambda path: b"",
    )
    ended = driver.run_session(route, Deadline())
    state.close()
    print(json.dumps({"changes": twins.changes, "failed": ended.failed}))


if __name__ == "__main__":
    main()

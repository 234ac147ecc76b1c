"""A controller's first requests come together: the first of them to write must not disturb those that read."""

import threading
from datetime import UTC, datetime
from pathlib import Path

from edgewright.core.fleet import twins
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlTwins


def test_the_first_write_closes_nothing_under_other_threads(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def speak(store: SqlTwins, device: str, together: threading.Barrier) -> None:
        together.wait(timeout=60)
        try:
            for _ in range(5):
                store.twin(device)
            store.change(device, "ddi", lambda twin: twins.seen(twin, datetime.now(UTC)))
            store.twin(device)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown below
            failures.append(error)

    for _ in range(30):
        with SqlState(tmp_path / "state.db") as state:
            store, together = SqlTwins(state), threading.Barrier(4)
            threads = [threading.Thread(target=speak, args=(store, f"lane-{n}", together)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=60)

    assert failures == []

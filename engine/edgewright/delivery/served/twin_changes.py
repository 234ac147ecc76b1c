"""Changes of twins by requests of devices, which wake the controller when there is news. Called by the services."""

from collections.abc import Callable

from edgewright.core.fleet.twins import Twin
from edgewright.ports import TwinStore


def change_and_wake(
    store: TwinStore,
    device: str,
    system: str,
    work: Callable[[Twin], Twin],
    *,
    news: Callable[[Twin], object],
    wake: Callable[[], None],
) -> Twin:
    """Change a twin as a whole, durably, and wake the controller if the change is news.

    Args:
        store: Stores the twins.
        device: The device's id.
        system: Its update system.
        work: The change; it may run again.
        news: Gives the part of a twin that rollouts or people see.
        wake: Wakes the controller.

    Raises:
        As ports.TwinStore.change.
    """
    before: list[Twin] = []

    def remember(twin: Twin) -> Twin:
        before[:] = [twin]
        return work(twin)

    after = store.change(device, system, remember)
    assert after is not None, "no request removes a twin"
    if news(before[0]) != news(after):
        wake()
    return after

"""``edgewright serve`` as a process, for end-to-end tests.

::

    with Served(fleet, "--repo", url, EDGEWRIGHT_WEBHOOK_SECRET="…") as served:
        served.url  # where it listens
"""

import json
from types import TracebackType
from typing import Any, Self

import httpx

from e2e.fleet import Fleet, Running, wait_for


class Served:
    """One controller; its log is JSON, so that tests can read it."""

    def __init__(self, fleet: Fleet, *arguments: str, **variables: str) -> None:
        self._fleet = fleet
        self.running: Running = fleet.in_background("serve", "--port", "0", "--log", "json", *arguments, **variables)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running.ask()
        self.running.ended(60)

    @property
    def url(self) -> str:
        """Where it listens, once it does."""

        def probe() -> str | None:
            if not self.running.alive:
                raise AssertionError(f"the controller has ended:\n{self.running.text()}")
            return next((str(line["url"]) for line in self.log() if line.get("event") == "serving"), None)

        return wait_for("the controller's address", probe, why=self.running.text)

    def log(self) -> list[dict[str, Any]]:
        """What it logged so far."""
        lines = (line for line in self.running.text().splitlines() if line.startswith("{"))
        return [json.loads(line) for line in lines if line.endswith("}")]

    def ready(self) -> dict[str, Any]:
        """What it says of its readiness."""
        found: dict[str, Any] = httpx.get(f"{self.url}/readyz", timeout=30).json()
        return found

    def wait_role(self, role: str) -> None:
        """Wait until it is ``active`` or ``standby``."""
        wait_for(f"a controller that is {role}", lambda: self.ready()["role"] == role, why=self.running.text)

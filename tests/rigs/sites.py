"""edgewright as the server that devices ask: what the device APIs' sites have in common, over real HTTP."""

from abc import ABC, abstractmethod

from starlette.types import ASGIApp

from edgewright.server.serving import Serving
from rigs.base import Grounds


class Site(ABC):
    """One controller on a rig's grounds. The engine behind it can end and start again, and so can the server, at the
    same address.
    """

    grounds: Grounds
    _port: int = 0
    _serving: Serving

    @abstractmethod
    def _open(self) -> None:
        """Open driver and service on the grounds."""

    @abstractmethod
    def _app(self) -> ASGIApp:
        """Return the served application."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, where it listened before."""
        self._serving = Serving(self._app(), port=self._port, stop_seconds=1)
        self._port = self._serving.start().port

    def stop(self) -> None:
        """End it; artifacts that are held back are cut off."""
        self._serving.stop()

    def renew(self) -> None:
        """Put another engine behind the same server, on what the one before has left."""
        self.grounds.close()
        self.grounds.open()
        self._open()

    def restart(self) -> None:
        """End this controller, and start another on what it has left."""
        self.stop()
        self.renew()
        self.start()

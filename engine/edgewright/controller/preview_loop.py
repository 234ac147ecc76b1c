"""Keeps pull requests previewed. Of several controllers, the one that leads the first declared environment does it, for
all environments: there is one comment.
"""

import threading
from collections.abc import Callable, Sequence, Set
from datetime import datetime, timedelta

from edgewright.controller.environment import Environment
from edgewright.controller.health import Vitals
from edgewright.controller.loops import Loop
from edgewright.controller.outbound import Standing, Standings
from edgewright.controller.previews import Previewer, PreviewTarget
from edgewright.core.snapshot import Snapshot
from edgewright.ports import Event, Forge, Upstream
from edgewright.reconcile.accepted import accepted
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Previews, Repository

_EVERY = timedelta(minutes=2)
"""How often open pull requests are listed without being told."""


class Previewing(Loop):
    """The loop of previews."""

    def __init__(
        self,
        upstream: Upstream,
        forge: Forge,
        standings: Standings,
        station_of: Callable[[str], Environment],
        vitals: Vitals,
        clock: Callable[[], datetime],
    ) -> None:
        """Wire it; nothing is asked yet.

        Args:
            upstream: Where the commits are.
            forge: Where the pull requests are.
            standings: What this process leads.
            station_of: Gives the stations of environments that others lead; they are only read.
            vitals: Is told that the loop lives.
            clock: Gives aware UTC times.
        """
        super().__init__("previews", vitals, clock)
        self._upstream = upstream
        self._standings = standings
        self._station_of = station_of
        self._others: dict[str, Environment] = {}
        self._declared: Repository | None = None
        self._lock = threading.Lock()
        self._numbers: set[int] = set()
        self._all = True
        self._due = clock()
        self._previewer = Previewer(
            upstream,
            forge,
            self._targets,
            clock,
            settings=self._settings,
            report=self._trouble,
            stopping=self._stop.is_set,
        )

    def ask(self, numbers: Set[int] | None) -> None:
        """Look at these pull requests soon; None: at all that are open."""
        with self._lock:
            self._numbers |= numbers or set()
            self._all = self._all or numbers is None
        self.wake()

    def declare(self, repository: Repository | None) -> None:
        """Say what is declared now."""
        self._declared = repository

    def work(self) -> datetime:
        """Preview what was asked for, and all that are open from time to time."""
        if self._leading() is None:
            return self.clock() + _EVERY
        with self._lock:
            numbers, everything = self._numbers, self._all or self.clock() >= self._due
            self._numbers, self._all = set(), False
        if everything:
            self._due = self.clock() + _EVERY
            self._previewer.preview_all(None)
        elif numbers:
            self._previewer.preview_all(numbers)
        return self._due

    def _names(self) -> Sequence[str]:
        declared = self._declared.spec.environments if self._declared else ()
        return [environment.name for environment in declared] or [""]

    def _leading(self) -> Standing | None:
        """How the first declared environment stands, where this process leads it."""
        return self._standings.led().get(self._names()[0])

    def _targets(self) -> Sequence[PreviewTarget]:
        led = self._standings.led()
        return [self._led_here(led[name]) if name in led else self._led_elsewhere(name) for name in self._names()]

    def _led_here(self, standing: Standing) -> PreviewTarget:
        station = standing.controller.station
        return PreviewTarget(
            environment=station.name,
            follow=standing.controller.followed.follow or Follow(branch=self._upstream.default_branch()),
            plan=lambda proposed: station.plan(proposed, standing.desired),
            in_force=lambda: standing.desired,
            revision=lambda: standing.desired.revision,
            state=station.reader.version,
        )

    def _led_elsewhere(self, name: str) -> PreviewTarget:
        if name not in self._others:
            self._others[name] = self._station_of(name)
        station = self._others[name]
        assert self._declared is not None
        environment = self._declared.spec.environment(name)
        assert environment is not None

        def revision() -> str | None:
            return accepted(station.reader)

        def in_force() -> Snapshot | None:
            commit = revision()
            if commit is None:
                return None
            self._upstream.bring(commit)
            return self._upstream.source(lambda: commit, name).snapshot()

        return PreviewTarget(
            environment=name,
            follow=environment.follow,
            plan=lambda proposed: station.plan(proposed, in_force()),
            in_force=in_force,
            revision=revision,
            state=station.reader.version,
        )

    def _settings(self) -> Previews:
        return self._declared.spec.previews if self._declared else Previews()

    def _trouble(self, event: Event) -> None:
        """Keep what could not be previewed in the history of the environment that is led here."""
        if (leading := self._leading()) is not None:
            leading.controller.station.writer.add_events([event])

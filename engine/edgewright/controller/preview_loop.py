"""Previews of open pull requests, kept current by a loop.

Of several controllers, the one that leads the first declared environment previews for all of them: a pull request has
one comment.
"""

import threading
from collections.abc import Callable, Sequence, Set
from datetime import datetime, timedelta

from edgewright.controller.environment import Environment
from edgewright.controller.health import ProcessHealth
from edgewright.controller.loops import Loop
from edgewright.controller.outbound import FinishedPass, LastPasses
from edgewright.controller.preview_process import PreviewComputer, PreviewProcess
from edgewright.controller.previews import Previewer, PreviewTarget
from edgewright.core.snapshot import Snapshot
from edgewright.ports import Event, Forge, Upstream
from edgewright.reconcile.accepted import accepted
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Previews, Repository

_EVERY = timedelta(minutes=2)
"""How often open pull requests are listed without a webhook."""


class PreviewLoop(Loop):
    """The loop of previews."""

    def __init__(
        self,
        upstream: Upstream,
        forge: Forge,
        passes: LastPasses,
        open_environment: Callable[[str], Environment],
        health: ProcessHealth,
        clock: Callable[[], datetime],
        compute: PreviewComputer | None = None,
    ) -> None:
        """Wire the loop; nothing is requested yet.

        Args:
            upstream: The repository.
            forge: The host of its pull requests.
            passes: Last passes of the environments that this process leads.
            open_environment: Opens an environment that another process leads; it is only read.
            health: Receives heartbeats.
            clock: Returns aware UTC times.
            compute: Computes what a change does; by default in this process.
        """
        super().__init__("previews", health, clock)
        self._upstream = upstream
        self._passes = passes
        self._compute = compute
        self._open_environment = open_environment
        self._others: dict[str, Environment] = {}
        self._declared: Repository | None = None
        self._lock = threading.Lock()
        self._numbers: set[int] = set()
        self._all = True
        self._fetched = False
        self._due = clock()
        self._previewer = Previewer(
            upstream,
            forge,
            self._targets,
            clock,
            settings=self._settings,
            report=self._record,
            stopping=self._stop.is_set,
            compute=compute,
        )

    def request(self, numbers: Set[int] | None) -> None:
        """Preview these pull requests soon; None: all open ones."""
        with self._lock:
            self._numbers |= numbers or set()
            self._all = self._all or numbers is None
        self.wake()

    def fetched(self) -> None:
        """Look for merge groups among the branches that were fetched."""
        self._fetched = True
        self.wake()

    def stop(self) -> None:
        """Stop at once: a preview that is being computed is ended."""
        self._stop.set()
        if isinstance(self._compute, PreviewProcess):
            self._compute.stop()
        super().stop()

    def declare(self, repository: Repository | None) -> None:
        """Set the declared repository resource."""
        self._declared = repository

    def work(self) -> datetime:
        """Preview the requested pull requests, and from time to time all open ones."""
        if self._leading() is None:
            return self.clock() + _EVERY
        with self._lock:
            numbers, everything = self._numbers, self._all or not self._due - _EVERY <= self.clock() < self._due
            fetched = self._fetched
            self._numbers, self._all, self._fetched = set(), False, False
        if everything:
            self._due = self.clock() + _EVERY
            self._previewer.preview_all(None)
        elif numbers or fetched:
            self._previewer.preview_all(numbers)
        return self._due

    def _names(self) -> Sequence[str]:
        declared = self._declared.spec.environments if self._declared else ()
        return [environment.name for environment in declared] or [""]

    def _leading(self) -> FinishedPass | None:
        """Return the last pass of the first declared environment, if this process leads it."""
        return self._passes.led().get(self._names()[0])

    def _targets(self) -> Sequence[PreviewTarget]:
        led = self._passes.led()
        return [self._led_here(led[name]) if name in led else self._led_elsewhere(name) for name in self._names()]

    def _led_here(self, finished: FinishedPass) -> PreviewTarget:
        environment = finished.controller.environment
        return PreviewTarget(
            environment=environment.name,
            follow=finished.controller.followed.follow or Follow(branch=self._upstream.default_branch()),
            plan=lambda proposed: environment.plan(proposed, finished.desired),
            in_force=lambda: finished.desired,
            revision=lambda: finished.desired.revision,
            state=environment.reader.version,
        )

    def _led_elsewhere(self, name: str) -> PreviewTarget:
        if name not in self._others:
            self._others[name] = self._open_environment(name)
        environment = self._others[name]
        assert self._declared is not None
        declared = self._declared.spec.environment(name)
        assert declared is not None

        def revision() -> str | None:
            return accepted(environment.reader)

        def in_force() -> Snapshot | None:
            commit = revision()
            if commit is None:
                return None
            self._upstream.bring(commit)
            return self._upstream.source(lambda: commit, name).snapshot()

        return PreviewTarget(
            environment=name,
            follow=declared.follow,
            plan=lambda proposed: environment.plan(proposed, in_force()),
            in_force=in_force,
            revision=revision,
            state=environment.reader.version,
        )

    def _settings(self) -> Previews:
        return self._declared.spec.previews if self._declared else Previews()

    def _record(self, event: Event) -> None:
        """Record a failed preview in the history of the environment that this process leads."""
        if (leading := self._leading()) is not None:
            leading.controller.environment.writer.add_events([event])

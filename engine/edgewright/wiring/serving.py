"""Assembly of ``edgewright serve``: the supervisor with its loops, and the HTTP server for forges and devices."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from edgewright.controller.health import ProcessHealth
from edgewright.controller.outbound import LastPasses, Outbound
from edgewright.controller.preview_loop import PreviewLoop
from edgewright.controller.preview_process import PreviewProcess
from edgewright.controller.supervisor import Supervisor
from edgewright.controller.wakeups import Debouncer
from edgewright.durable import disk_trouble
from edgewright.errors import EdgewrightError, Transient
from edgewright.forges.opening import open_forge
from edgewright.forges.settings import TOKEN, ForgeSettings
from edgewright.ports import Forge
from edgewright.secret import from_variable
from edgewright.server.app import HookSettings, create_app
from edgewright.server.devices.agent_app import AgentApp
from edgewright.server.devices.forwarded import ForwardedApp
from edgewright.server.devices.peers import Peers, parse_peers
from edgewright.server.hooks.webhooks import RepositoryNames
from edgewright.server.serving import Serving
from edgewright.wiring.agent_services import AgentServices, authorities
from edgewright.wiring.device_services import EnvironmentServices
from edgewright.wiring.environments import LiveEnvironment, anchor_of
from edgewright.wiring.registry import device_routers
from edgewright.wiring.workspace import Workspace

SECRETS = ("EDGEWRIGHT_WEBHOOK_SECRET", "EDGEWRIGHT_WEBHOOK_SECRET_OLD")
"""Variables with the secrets of webhooks; the second is accepted while senders change to the first."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Settings of one process that serves."""

    host: str
    port: int
    """0: any free one."""
    tls: tuple[Path, Path] | None = None
    """A certificate chain and its key, in PEM."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies that end TLS for devices."""
    proxy_header: str | None = None
    """The header in which proxies pass agents' certificates on."""
    insecure_devices: bool = False
    """Whether agents on this machine are accepted without TLS."""
    only: tuple[str, ...] = ()
    """Environments to serve; by default all declared ones."""
    interval: timedelta | None = None
    """Time between polls of Git, in place of the declared one."""
    jobs: int = 2
    """Build steps that run at once in each environment."""
    accept: str | None = None
    """A commit that an operator trusts from now on."""
    certificate_life: timedelta = timedelta(days=7)
    """How long certificates of agents are valid."""


@dataclass(frozen=True, slots=True)
class ControllerProcess:
    """The assembled process; ``run`` blocks until ``stop``."""

    supervisor: Supervisor
    server: Serving
    agents: AgentServices
    forge: Forge | None
    repository: str
    """Its path or URL, for the log."""
    has_secret: bool
    """Whether webhooks are accepted."""
    has_local_trust: bool
    """Whether agents on this machine are accepted without TLS."""

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Listen within the block, and close every connection after it.

        Raises:
            EdgewrightError: The address is taken, or the certificate cannot be read.
        """
        try:
            with self.server as server, self.agents:
                url = server.address.url
                log = self.supervisor.log
                log.info("serving", url=url, repository=self.repository, webhooks=self.has_secret)
                if self.has_local_trust:
                    log.warning("agents on this machine are accepted without TLS: for trying things out only")
                yield
        finally:
            if self.forge is not None:
                self.forge.close()
        self.supervisor.log.info("stopped")

    def run(self) -> None:
        """Fetch and reconcile until ``stop`` is called."""
        self.supervisor.run()

    def stop(self) -> None:
        """Stop soon, leaving everything resumable. Safe in a signal handler."""
        self.supervisor.stop()


def assemble(workspace: Workspace, options: ServeOptions) -> ControllerProcess:
    """Wire the process; nothing listens and no loop runs yet.

    Raises:
        EdgewrightError: A setting or a secret is wrong, or the state store cannot be used.
    """
    forge, names = _forge_of(workspace)
    with suppress(Transient):  # a database that is away for now is waited for
        workspace.state.environments()
    wakeups, health = Debouncer(), ProcessHealth()
    supervisor = _supervisor(workspace, options, wakeups, health, forge)
    services = EnvironmentServices(workspace, workspace.upstream, supervisor.wake)

    def served() -> Collection[str]:
        return tuple(supervisor.controllers)

    secrets = tuple(secret for name in SECRETS if (secret := from_variable(name)) is not None)
    hooks = HookSettings(secrets, RepositoryNames.of(names))
    peers = _peers(options)
    rest = ForwardedApp(create_app(hooks, wakeups, health, routers=device_routers(services, served)), peers)
    agents = AgentServices(services, served, options.certificate_life)
    app = AgentApp(agents.find, peers, rest)
    return ControllerProcess(
        supervisor=supervisor,
        server=Serving(
            app,
            options.host,
            options.port,
            tls=options.tls,
            clients=_client_authorities(workspace),
            instant=app.instant,
        ),
        agents=agents,
        forge=forge,
        repository=workspace.shown,
        has_secret=bool(secrets),
        has_local_trust=options.insecure_devices,
    )


def _supervisor(
    workspace: Workspace, options: ServeOptions, wakeups: Debouncer, health: ProcessHealth, forge: Forge | None
) -> Supervisor:
    accept = _check_commit(workspace, options.accept) if options.accept is not None else None
    upstream, anchor, clock, passes = workspace.upstream, anchor_of(workspace), workspace.clock, LastPasses()

    def open_environment(name: str) -> LiveEnvironment:
        is_plain = options.tls is None and not options.proxies
        return LiveEnvironment(workspace.for_environment(name), upstream, anchor, is_plain=is_plain)

    previews = None
    if forge is not None:
        compute = PreviewProcess(workspace.described, _preview_environment)
        previews = PreviewLoop(upstream, forge, passes, open_environment, health, clock, compute)
    return Supervisor(
        upstream=upstream,
        open_environment=open_environment,
        wakeups=wakeups,
        health=health,
        clock=clock,
        outbound=Outbound(passes, forge, health, clock, folder=upstream.folder),
        passes=passes,
        previews=previews,
        anchor=anchor,
        only=options.only,
        interval=options.interval,
        jobs=options.jobs,
        accept=accept,
        disk_trouble=partial(disk_trouble, workspace.folder),
    )


def _preview_environment() -> Mapping[str, str]:
    """Return this process's environment without the tokens of forges and webhooks: nothing is told to anybody there."""
    names = (TOKEN, *SECRETS)
    left_out = {*names, *(f"{name}_FILE" for name in names)}
    return {name: value for name, value in os.environ.items() if name not in left_out}


def _check_commit(workspace: Workspace, revision: str) -> str:
    """Fetch the commit that an operator trusts, before anything is started.

    Raises:
        SourceError: It is not there.
        SourceUnavailable: The repository does not answer.
    """
    if not _COMMIT.fullmatch(revision):
        raise EdgewrightError(f"--accept {revision} is no commit", hint="give all 40 digits: a name may move")
    workspace.upstream.fetch(())
    return workspace.upstream.bring(revision)


def _peers(options: ServeOptions) -> Peers:
    """Return how the agents' end of a connection is authenticated."""
    return parse_peers(
        insecure=options.insecure_devices,
        header=options.proxy_header,
        proxies=options.proxies,
        host=options.host,
        tls=options.tls is not None,
    )


def _forge_of(workspace: Workspace) -> tuple[Forge | None, tuple[str, ...]]:
    """Open the forge, if there is a token for it, and list the names that webhooks may give the repository.

    Raises:
        ForgeError: A setting is missing or wrong.
    """
    remote = workspace.remote_url
    settings = ForgeSettings.guess(remote)
    names = tuple(name for name in (remote, settings.repository if settings else None) if name)
    if settings is None or settings.token is None:
        return None, names
    return open_forge(settings), names


def _client_authorities(workspace: Workspace) -> Callable[[], bytes]:
    def read() -> bytes:
        return authorities(workspace.all_keys)

    return read

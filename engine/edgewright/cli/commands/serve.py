"""``edgewright serve``: the controller."""

import os
import re
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgewright.cli.console import stderr
from edgewright.cli.options import HERE, Exit, RefOption, RepoOption, StateOption, duration_of
from edgewright.cli.workspaces import open_workspace
from edgewright.errors import EdgewrightError, Transient
from edgewright.wiring.workspace import Workspace

if TYPE_CHECKING:
    from edgewright.controller.supervisor import Supervisor
    from edgewright.ports import Forge

_EXAMPLES = (
    "Examples: edgewright serve · edgewright serve --repo https://git.example.com/team/specs.git "
    "--state /var/lib/edgewright --env production --host 0.0.0.0 --port 8080"
)
_SECRETS = ("EDGEWRIGHT_WEBHOOK_SECRET", "EDGEWRIGHT_WEBHOOK_SECRET_OLD")
"""The second one while senders are being changed to the first."""

_SHORTEST = timedelta(seconds=1)
_ONE_CTRL_C = 0.5
"""Seconds within which several are one: a terminal and a supervising program may both pass it on."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


class LogFormat(StrEnum):
    """How the log is written."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", epilog=_EXAMPLES)(serve)


def serve(
    repo: RepoOption = HERE,
    ref: RefOption = None,
    state: StateOption = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", help="Only these environments; repeatable.", show_default="all that are declared"),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8080,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain (PEM) to serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key (PEM).")] = None,
    interval: Annotated[
        str | None, typer.Option("--interval", help="Between polls of Git, like 30s.", show_default="as declared")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Build steps at once, in each environment.")] = 2,
    accept: Annotated[
        str | None, typer.Option("--accept", help="Trust this commit and its keys from now on; for one start.")
    ] = None,
    certificate_days: Annotated[
        int, typer.Option("--certificate-days", min=1, max=398, help="How long agents' certificates hold.")
    ] = 7,
    proxy: Annotated[
        list[str] | None,
        typer.Option("--proxy", help="Address or network of a proxy that ends TLS for agents; repeatable."),
    ] = None,
    proxy_header: Annotated[
        str | None, typer.Option("--proxy-header", help="Where it passes on their certificate, like X-Client-Cert.")
    ] = None,
    insecure_devices: Annotated[
        bool, typer.Option("--insecure-devices", help="Believe agents on this machine without TLS, for trying it out.")
    ] = False,
    log: Annotated[LogFormat, typer.Option("--log", help="How to log, on stderr.")] = LogFormat.AUTO,
) -> None:
    """Follow Git and keep reality equal to it: every environment, with webhooks, previews and devices.

    Several may run on one database: one acts in each environment, the others stand by. Ctrl-C and SIGTERM end it
    cleanly; what is under way is resumed by the next. Secrets are read from EDGEWRIGHT_WEBHOOK_SECRET,
    EDGEWRIGHT_FORGE_TOKEN and EDGEWRIGHT_GIT_TOKEN, or from the files that the same names with _FILE give.
    """
    from edgewright.cli.logs import configure_logging
    from edgewright.controller.health import Vitals
    from edgewright.controller.wakeups import Debouncer
    from edgewright.secret import from_variable, keep_from_siblings
    from edgewright.server.app import HookSettings, create_app
    from edgewright.server.devices.agent_app import AgentApp
    from edgewright.server.devices.peers import parse_peers
    from edgewright.server.hooks.webhooks import RepositoryNames
    from edgewright.server.serving import Serving
    from edgewright.wiring.agent_services import AgentServices, authorities
    from edgewright.wiring.device_apis import device_routers
    from edgewright.wiring.device_services import EnvironmentServices

    keep_from_siblings()
    configure_logging(as_json=log is LogFormat.JSON or (log is LogFormat.AUTO and not sys.stderr.isatty()))
    if (tls_cert is None) != (tls_key is None):
        raise EdgewrightError("--tls-cert and --tls-key belong together", hint="give both, or neither")
    tls = (tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    peers = parse_peers(
        insecure=insecure_devices, header=proxy_header, proxies=proxy or (), host=host, tls=tls is not None
    )
    workspace = open_workspace(repo, ref=ref, state=state)
    forge, names = _forge(workspace)
    with suppress(Transient):  # a database that is away for now is waited for
        workspace.state.environments()
    secrets = tuple(secret for name in _SECRETS if (secret := from_variable(name)) is not None)
    bell, vitals = Debouncer(), Vitals()
    supervisor = _supervisor(
        workspace, bell, vitals, forge, only=tuple(env or ()), interval=interval, jobs=jobs, accept=accept
    )
    room = EnvironmentServices(workspace, workspace.upstream, supervisor.wake)

    def served() -> Collection[str]:
        return tuple(supervisor.controllers)

    hooks = HookSettings(secrets, RepositoryNames.of(names))
    rest = create_app(hooks, bell, vitals, routers=device_routers(room, served))
    desks = AgentServices(room, served, timedelta(days=certificate_days))
    app = AgentApp(desks.find, peers, rest)

    def clients() -> bytes:
        return authorities(workspace.all_keys)

    server = Serving(app, host, port, tls=tls, clients=clients, instant=app.instant)
    with server as serving, desks, _stopping(supervisor):
        supervisor.log.info("serving", url=serving.address.url, repository=workspace.shown, webhooks=bool(secrets))
        if insecure_devices:
            supervisor.log.warning("agents on this machine are believed whatever they say: for trying things out only")
        supervisor.run()
    if forge is not None:
        forge.close()
    supervisor.log.info("stopped")


def _supervisor(
    workspace: Workspace,
    bell: Any,
    vitals: Any,
    forge: "Forge | None",
    *,
    only: tuple[str, ...],
    interval: str | None,
    jobs: int,
    accept: str | None,
) -> "Supervisor":
    from edgewright.controller.outbound import Outbound, Standings
    from edgewright.controller.preview_loop import Previewing
    from edgewright.controller.supervisor import Supervisor
    from edgewright.wiring.environments import LiveEnvironment, anchor_of

    if accept is not None:
        accept = _acceptable(workspace, accept)
    upstream, anchor, clock, standings = workspace.upstream, anchor_of(workspace), workspace.clock, Standings()

    def station_of(name: str) -> LiveEnvironment:
        return LiveEnvironment(workspace.for_environment(name), upstream, anchor)

    return Supervisor(
        upstream=upstream,
        station_of=station_of,
        bell=bell,
        vitals=vitals,
        clock=clock,
        standings=standings,
        errands=Outbound(standings, forge, vitals, clock),
        previewing=Previewing(upstream, forge, standings, station_of, vitals, clock) if forge is not None else None,
        anchor=anchor,
        only=only,
        interval=duration_of("--interval", interval, least=_SHORTEST) if interval else None,
        jobs=jobs,
        accept=accept,
    )


def _acceptable(workspace: Workspace, revision: str) -> str:
    """Find the commit that a person trusts, before anything is started.

    Raises:
        SourceError: It is not there.
        SourceUnavailable: The repository does not answer.
    """
    if not _COMMIT.fullmatch(revision):
        raise EdgewrightError(f"--accept {revision} is no commit", hint="give all 40 digits: a name may move")
    workspace.upstream.fetch(())
    return workspace.upstream.bring(revision)


def _forge(workspace: Workspace) -> "tuple[Forge | None, tuple[str, ...]]":
    """Open the forge, if there is a token for one; and list the names that webhooks may call the repository by.

    Raises:
        ForgeError: Something of its settings is missing or wrong.
    """
    from edgewright.forges.settings import ForgeSettings

    remote = workspace.remote_url
    settings = ForgeSettings.guess(remote)
    names = tuple(name for name in (remote, settings.repository if settings else None) if name)
    if settings is None or settings.token is None:
        return None, names
    from edgewright.forges.opening import open_forge

    return open_forge(settings), names


@contextmanager
def _stopping(supervisor: "Supervisor") -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end everything softly; a second Ctrl-C ends it at once, as a power cut would."""
    asked: list[float] = []

    def soft(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if asked and number == signal.SIGINT and now - asked[0] > _ONE_CTRL_C:
            os._exit(Exit.INTERRUPTED)
        if not asked:
            asked.append(now)
            stderr().print("stopping; what is under way can be resumed (Ctrl-C again stops at once)", style="yellow")
            supervisor.stop()

    before = {number: signal.signal(number, soft) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

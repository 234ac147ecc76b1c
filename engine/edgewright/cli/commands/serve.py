"""``edgewright serve``: the controller."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from edgewright.cli.console import stderr
from edgewright.cli.options import HERE, Exit, RefOption, RepoOption, StateOption, duration_of
from edgewright.cli.workspaces import open_workspace
from edgewright.errors import EdgewrightError

_EXAMPLES = (
    "Examples: edgewright serve · edgewright serve --repo https://git.example.com/team/specs.git "
    "--state /var/lib/edgewright --env production --host 0.0.0.0 --port 8080"
)
_SHORTEST = timedelta(seconds=1)
_ONE_CTRL_C = 0.5
"""Seconds within which several count as one: a terminal and a supervising program may both pass it on."""


class LogFormat(StrEnum):
    """Formats of the log."""

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
        typer.Option("--proxy", help="Address or network of a proxy that ends TLS for devices; repeatable."),
    ] = None,
    proxy_header: Annotated[
        str | None, typer.Option("--proxy-header", help="Where it passes on agents' certificates, like X-Client-Cert.")
    ] = None,
    insecure_devices: Annotated[
        bool, typer.Option("--insecure-devices", help="Accept agents on this machine without TLS, for trying it out.")
    ] = False,
    log: Annotated[LogFormat, typer.Option("--log", help="How to log, on stderr.")] = LogFormat.AUTO,
) -> None:
    """Follow Git and keep reality equal to it: every environment, with webhooks, previews and devices.

    Several may run on one database: one acts in each environment, the others stand by. Ctrl-C and SIGTERM end it
    cleanly; what is under way is resumed by the next. Secrets are read from EDGEWRIGHT_WEBHOOK_SECRET,
    EDGEWRIGHT_FORGE_TOKEN and EDGEWRIGHT_GIT_TOKEN, or from the files that the same names with _FILE give.
    """
    from edgewright.cli.logs import configure_logging
    from edgewright.secret import keep_from_siblings
    from edgewright.wiring.serving import ServeOptions, assemble

    keep_from_siblings()
    configure_logging(as_json=log is LogFormat.JSON or (log is LogFormat.AUTO and not sys.stderr.isatty()))
    options = ServeOptions(
        host=host,
        port=port,
        tls=_tls(tls_cert, tls_key),
        proxies=tuple(proxy or ()),
        proxy_header=proxy_header,
        insecure_devices=insecure_devices,
        only=tuple(env or ()),
        interval=duration_of("--interval", interval, least=_SHORTEST) if interval else None,
        jobs=jobs,
        accept=accept,
        certificate_life=timedelta(days=certificate_days),
    )
    process = assemble(open_workspace(repo, ref=ref, state=state), options)
    with process.serve(), _stop_on_signals(process.stop):
        process.run()


def _tls(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if certificate is not None and key is not None:
        return certificate, key
    if certificate is None and key is None:
        return None
    raise EdgewrightError("--tls-cert and --tls-key belong together", hint="give both, or neither")


@contextmanager
def _stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on Ctrl-C and SIGTERM within the block; end the process at once on a second Ctrl-C."""
    asked: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if asked and number == signal.SIGINT and now - asked[0] > _ONE_CTRL_C:
            os._exit(Exit.INTERRUPTED)
        if not asked:
            asked.append(now)
            stderr().print("stopping; what is under way can be resumed (Ctrl-C again stops at once)", style="yellow")
            stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

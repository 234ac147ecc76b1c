"""``edgewright devices server-certificate``: a certificate that agents trust, for a server without another one."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption
from edgewright.cli.workspaces import open_workspace
from edgewright.errors import EdgewrightError
from edgewright.services.devices import named_environment

_EXAMPLE = "Example: edgewright devices server-certificate edge.example.com 10.0.0.5 --out tls"
_FILES = ("server.key", "server.crt", "ca.crt")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("server-certificate", epilog=_EXAMPLE)(server_certificate)


def server_certificate(
    hosts: Annotated[list[str], typer.Argument(help="Names and IP addresses that devices reach the server by.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for server.crt, server.key and ca.crt; made if need be.")],
    days: Annotated[int, typer.Option("--days", min=1, max=825, help="How long it holds.")] = 365,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put new ones in the place of those in the folder.")
    ] = False,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a server's certificate and key, certified by the authority of devices' certificates.

    For `edgewright serve --tls-cert … --tls-key …` or a proxy before it, where there is no certificate from elsewhere.
    Devices are given ca.crt (`edgewright-agent init --ca`).
    """
    from edgewright.durable import make_folder, write_atomic

    workspace = open_workspace(repo, state=state, env=env)
    named_environment(workspace)
    there = [name for name in _FILES if (out / name).exists()]
    if there and not replace:
        raise EdgewrightError(
            f"{out} has {', '.join(there)} already", hint="name another folder; or --replace, to put new ones there"
        )
    chain, key, authority = workspace.issue_server_certificate(hosts, timedelta(days=days))
    try:
        make_folder(out.absolute())
        write_atomic(out / "server.key", key, mode=0o600)
        write_atomic(out / "server.crt", chain)
        write_atomic(out / "ca.crt", authority)
    except OSError as error:
        raise EdgewrightError(
            f"cannot write to {out}: {error.strerror}", hint="make it writable, or name another folder"
        ) from error
    if output is Output.JSON:
        print_json({"hosts": hosts, "days": days, "files": [str(out / name) for name in _FILES]})
        return
    stdout().print(f"wrote {', '.join(_FILES)} to {out}, for {', '.join(hosts)}, good for {days} days")
    stdout().print(f"next: edgewright serve --host 0.0.0.0 --tls-cert {out}/server.crt --tls-key {out}/server.key")

"""``edgewright devices token``: tokens that admit devices without an operator."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.commands.devices.options import LabelsOption, labels_of
from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption, duration_of
from edgewright.cli.workspaces import open_workspace
from edgewright.errors import EdgewrightError

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.core.status.devices import TokenStatus
    from edgewright.secret import Secret

_MOST_USES = 1_000
_EXAMPLES = (
    "Examples: edgewright devices token --uses 20 --expires 24h --label region=eu · edgewright devices token --list · "
    "edgewright devices token lane-9"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("token", epilog=_EXAMPLES)(token)


def token(
    device: Annotated[
        str | None,
        typer.Argument(help="Make the token of one device that speaks hawkBit's device API.", show_default=False),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option("--gateway", help="Make the one token of all hawkBit devices behind it.", show_default=False),
    ] = None,
    uses: Annotated[int, typer.Option("--uses", min=1, max=_MOST_USES, help="How many agents it admits.")] = 1,
    expires: Annotated[str, typer.Option("--expires", help="How long it admits agents.")] = "24h",
    label: LabelsOption = None,
    allow_label: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-label", help="Label an agent may say of itself: KEY, or KEY=VALUE; repeatable.", show_default=False
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the tokens for agents instead.")] = False,
    revoke: Annotated[str | None, typer.Option("--revoke", help="Revoke the token of this name.")] = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a token that admits agents without an operator, each by the first key it is known by.

    It is shown once, now: only its digest is kept. Its labels count before what an agent says of itself, of
    which only labels are taken that --allow-label names.
    """
    from edgewright.render.device_json import token_json
    from edgewright.services import admission

    life, labels = duration_of("--expires", expires, least=timedelta(minutes=1)), labels_of(label)
    if life > admission.LONGEST_LIFE:
        raise EdgewrightError(f"--expires {expires} is too long", hint="give at most 365d")
    if sum((device is not None, gateway is not None, listed, revoke is not None)) > 1:
        raise EdgewrightError("give one of DEVICE, --gateway, --list and --revoke", hint="or none, for agents")
    workspace = open_workspace(repo, state=state, env=env)
    if listed:
        _list(admission.list_tokens(workspace), output)
    elif revoke is not None:
        admission.revoke_token(workspace, revoke)
        stdout().print(f"token {revoke} is revoked; the devices it admitted stay")
    elif device is not None:
        _print_hawkbit(admission.issue_device_token(workspace, device), "TargetToken", device, output)
    elif gateway is not None:
        _print_hawkbit(admission.issue_gateway_token(workspace, gateway), "GatewayToken", gateway, output)
    else:
        secret, made = admission.make_token(workspace, uses=uses, life=life, labels=labels, allowed=allow_label or ())
        if output is Output.JSON:
            print_json({"token": secret.reveal(), **token_json(made)})
            return
        agents = "one agent" if uses == 1 else f"{uses} agents"
        stderr().print(f"token {made.name} admits {agents} until {made.expires:%Y-%m-%d %H:%M} UTC; it is shown once:")
        stdout().print(secret.reveal())


def _print_hawkbit(secret: "Secret", kind: str, name: str, output: Output) -> None:
    if output is Output.JSON:
        print_json({"token": secret.reveal(), "kind": kind, "name": name})
        return
    stderr().print(f"{kind} of {name}; tokens before it are revoked, and it is shown once:")
    stdout().print(secret.reveal())


def _list(found: "Sequence[TokenStatus]", output: Output) -> None:
    if output is Output.JSON:
        from edgewright.render.device_json import token_json

        print_json([token_json(token) for token in found])
        return
    if not found:
        stdout().print("no tokens")
        return
    from edgewright.cli.render.table import print_table

    lines = []
    for each in found:
        given = [f"{name}={value}" for name, value in sorted(each.labels.items())]
        labels = ", ".join([*given, *(f"{name} of its own" for name in each.allowed)])
        used = f"{len(each.admitted)} of {each.uses}"
        until = f"{each.expires:%Y-%m-%d %H:%M}"
        lines.append((each.name, each.problem or "good", until, used, labels, ", ".join(each.admitted)))
    print_table(
        stdout(), ("NAME", "STATE", "UNTIL (UTC)", "USED", "LABELS", "ADMITTED"), lines, whole={"NAME", "STATE"}
    )

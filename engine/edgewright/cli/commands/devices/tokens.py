"""``edgewright devices token``: what lets devices in without an operator."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgewright.cli.commands.devices.places import LabelsOption, Place, check_device, labels_of
from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import HERE, EnvOption, Output, OutputOption, RepoOption, StateOption, duration_of
from edgewright.errors import EdgewrightError

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.delivery.identity.tokens import EnrollmentToken

_MOST_USES = 1_000
_LONGEST = timedelta(days=365)
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
    uses: Annotated[int, typer.Option("--uses", min=1, max=_MOST_USES, help="How many agents it lets in.")] = 1,
    expires: Annotated[str, typer.Option("--expires", help="How long it lets agents in.")] = "24h",
    label: LabelsOption = None,
    listed: Annotated[bool, typer.Option("--list", help="List the tokens for agents instead.")] = False,
    revoke: Annotated[
        str | None, typer.Option("--revoke", help="Let nobody in any more by the token of this name.")
    ] = None,
    repo: RepoOption = HERE,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a token that lets agents in without an operator, each by the first key it is known by.

    It is shown once, now: only its digest is kept. Its labels count before what an agent says of itself.
    """
    from edgewright.delivery.identity.tokens import EnrollmentTokens
    from edgewright.state.twins import SqlIdentities

    life, labels = duration_of("--expires", expires, least=timedelta(minutes=1)), labels_of(label)
    if life > _LONGEST:
        raise EdgewrightError(f"--expires {expires} is too long", hint="give at most 365d")
    if sum((device is not None, gateway is not None, listed, revoke is not None)) > 1:
        raise EdgewrightError("give one of DEVICE, --gateway, --list and --revoke", hint="or none, for agents")
    place = Place(repo, state, env)
    workspace = place.workspace
    identities, now = SqlIdentities(workspace.state), workspace.clock()
    tokens = EnrollmentTokens(identities)
    if listed:
        _list([_row(each, each.problem(now)) for each in tokens.tokens()], output)
    elif revoke is not None:
        if not tokens.revoke(revoke, now):
            raise EdgewrightError(f"there is no token {revoke}", hint="edgewright devices token --list shows them")
        stdout().print(f"token {revoke} lets nobody in any more; those it let in stay")
    elif device is not None or gateway is not None:
        if device is not None:
            _check_route(place, device)
        _for_hawkbit(identities, device, gateway, workspace, output)
    else:
        workspace.make_folder()
        secret, made = tokens.make(uses=uses, life=life, labels=labels, now=now)
        if output is Output.JSON:
            print_json({"token": secret.reveal(), **_row(made, None)})
            return
        agents = "one agent" if uses == 1 else f"{uses} agents"
        stderr().print(f"token {made.name} lets in {agents} until {made.expires:%Y-%m-%d %H:%M} UTC; it is shown once:")
        stdout().print(secret.reveal())


def _check_route(place: Place, device: str) -> None:
    """Refuse a device that would not be let in by such a token.

    Raises:
        EdgewrightError: No fleet has it, or it is reached by another update system.
    """
    from edgewright.core.fleet.routes import find_routes
    from edgewright.core.suggestions import suggestion
    from edgewright.delivery.served.ddi.authentication import SYSTEM

    check_device(device)
    routes = find_routes(place.desired, place.workspace.state.enrolled())
    ours = [name for name, route in routes.items() if route.delivery.type == SYSTEM]
    route = routes.get(device)
    if route is None:
        nearest = suggestion(device, ours)
        raise EdgewrightError(
            f"no fleet has a device {device}",
            hint=nearest or f"list it in the inventory of a fleet with delivery: {{type: {SYSTEM}}}, and commit that",
        )
    if route.delivery.type != SYSTEM:
        agents = "; a token that lets agents in names no device: edgewright devices token"
        raise EdgewrightError(
            f"device {device} of fleet/{route.fleet} is reached by {route.delivery.type}, and this is a token for "
            f"hawkBit's device API",
            hint=f"edgewright devices list shows how each is reached{agents * (route.delivery.type == 'agent')}",
        )


def _for_hawkbit(identities: Any, device: str | None, gateway: str | None, workspace: Any, output: Output) -> None:
    from edgewright.delivery.served.ddi.authentication import issue_gateway_token, issue_token

    workspace.make_folder()
    if device is not None:
        secret, whose, kind = issue_token(identities, device, workspace.clock()), device, "TargetToken"
    else:
        whose, kind = gateway or "", "GatewayToken"
        secret = issue_gateway_token(identities, whose, workspace.clock())
    if output is Output.JSON:
        print_json({"token": secret.reveal(), "kind": kind, "name": whose})
        return
    stderr().print(f"{kind} of {whose}; those before count no more, and it is shown once:")
    stdout().print(secret.reveal())


def _row(token: "EnrollmentToken", problem: str | None) -> dict[str, Any]:
    return {
        "name": token.name,
        "madeAt": token.made_at.isoformat(),
        "expires": token.expires.isoformat(),
        "uses": token.uses,
        "letIn": sorted(token.used.values()),
        "labels": dict(token.labels),
        "ended": problem,
    }


def _list(rows: list[dict[str, Any]], output: Output) -> None:
    if output is Output.JSON:
        print_json(rows)
        return
    if not rows:
        stdout().print("no tokens")
        return
    from edgewright.cli.render.table import print_table

    lines = []
    for row in rows:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(row["labels"].items()))
        until = row["expires"][:16].replace("T", " ")
        used = f"{len(row['letIn'])} of {row['uses']}"
        lines.append((row["name"], row["ended"] or "good", until, used, labels, ", ".join(row["letIn"])))
    print_table(stdout(), ("NAME", "STATE", "UNTIL (UTC)", "USED", "LABELS", "LET IN"), lines, whole={"NAME", "STATE"})

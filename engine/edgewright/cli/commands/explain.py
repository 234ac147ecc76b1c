"""``edgewright explain``: why a step would or would not run."""

from typing import Annotated, Any

import typer

from edgewright.cli.console import print_json, stdout
from edgewright.cli.options import (
    HERE,
    EnvOption,
    Output,
    OutputOption,
    RefOption,
    RepoOption,
    StateOption,
    WorktreeOption,
)
from edgewright.cli.render.plan_text import plan_lines
from edgewright.cli.render.quantities import count_text, seconds_text, short, shorten
from edgewright.cli.workspaces import open_workspace
from edgewright.core.address import Address, parse_address
from edgewright.core.artifact import Artifact
from edgewright.core.planning.graph import references
from edgewright.core.planning.plan import Plan
from edgewright.core.planning.planner import plan as compute
from edgewright.core.planning.planner import reachable
from edgewright.core.snapshot import Snapshot
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", epilog="Example: edgewright explain model/price-tag-reader --worktree")(explain)


def explain(
    address: Annotated[str, typer.Argument(help="A resource, like model/price-tag-reader.")],
    repo: RepoOption = HERE,
    ref: RefOption = None,
    worktree: WorktreeOption = False,
    state: StateOption = None,
    env: EnvOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Say why steps of one resource would or would not run: each part of a fingerprint that changed, old → new."""
    workspace = open_workspace(repo, ref=ref, worktree=worktree, state=state, env=env)
    desired = workspace.source.snapshot()
    try:
        wanted = parse_address(address)
    except ValueError as error:
        named = [str(known) for known in sorted(desired.resources) if known.name == address]
        hint = f"did you mean {named[0]}?" if named else suggestion(address, map(str, desired.resources))
        raise EdgewrightError(f"{address!r} is no address; write kind/name", hint=hint) from error
    if wanted not in desired.resources:
        hint = suggestion(address, [str(known) for known in desired.resources])
        raise EdgewrightError(f"{address} is not declared at {short(desired.revision)}", hint=hint)
    observed = workspace.reality(desired).observe(desired)
    found = compute(desired, observed, workspace.clock())
    current = reachable(desired, observed, workspace.clock())
    reused = [a for f, a in observed.artifacts.items() if f in current and a.address == wanted]
    if output is Output.JSON:
        print_json(_json(wanted, found, reused))
    else:
        lines = list(_text(wanted, found, reused))
        for line in lines or [_nothing_text(wanted, desired)]:
            stdout().print(line)


def _nothing_text(wanted: Address, desired: Snapshot) -> str:
    """Say why there is nothing to explain, and where to look instead."""
    if wanted.kind in {"dataset", "model", "rollout"}:
        return f"{wanted} has nothing to do now"
    users = [
        str(user)
        for user, resource in sorted(desired.resources.items())
        if wanted in {reference.target for reference in references(resource.document)}
    ]
    return f"{wanted} has no steps of its own" + (f"; it is used by {', '.join(users)}" if users else "")


def _json(wanted: Address, found: Plan, reused: list[Artifact]) -> dict[str, Any]:
    from edgewright.render.plan_json import plan_json

    whole = plan_json(found)
    return {
        "address": str(wanted),
        "steps": [step for step in whole["steps"] if step["address"] == str(wanted)],
        "notes": [note for note in whole["notes"] if note["address"] == str(wanted)],
        "verdict": whole["verdicts"].get(str(wanted), []),
        "reused": [
            {
                "action": artifact.action.value,
                "fingerprint": artifact.fingerprint,
                "digest": artifact.digest,
                "createdAt": artifact.created_at.isoformat() if artifact.created_at else None,
                "components": dict(artifact.components),
                "environment": dict(artifact.environment),
            }
            for artifact in reused
        ],
    }


def _text(wanted: Address, found: Plan, reused: list[Artifact]) -> Any:
    for artifact in sorted(reused, key=lambda a: a.created_at.timestamp() if a.created_at else 0.0):
        made = f"made {artifact.created_at:%Y-%m-%d %H:%M:%S} UTC" if artifact.created_at else "made"
        took = seconds_text(artifact.seconds)
        yield f"= {artifact.action} is up to date: {made} in {took}, fingerprint {short(artifact.fingerprint)}"
        parts = "  ".join(f"{field}={shorten(value, 24)}" for field, value in sorted(artifact.components.items()))
        yield f"    rests on {count_text(len(artifact.components), 'component')}: {parts}"
    yield from plan_lines(found, only=wanted)

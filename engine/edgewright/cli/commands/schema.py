"""``edgewright schema``: print the JSON Schema of a kind."""

from typing import Annotated

import typer

from edgewright.cli.console import print_json
from edgewright.errors import EdgewrightError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema", epilog="Example: edgewright schema Model > model.schema.json")(schema)


def schema(
    kind: Annotated[str, typer.Argument(help="Dataset, Model, Thresholds, Fleet, Rollout or Repository.")],
) -> None:
    """Print the JSON Schema of one kind, for editors and other tools."""
    from edgewright.core.suggestions import nearest
    from edgewright_schemas.jsonschema import schema_of
    from edgewright_schemas.kinds import KINDS

    found = {name.lower(): name for name in KINDS}.get(kind.lower())
    if found is None:
        close = nearest(kind, KINDS)
        hint = f"did you mean {close}?" if close else f"the kinds are {', '.join(KINDS)}"
        raise EdgewrightError(f"there is no kind {kind!r}", hint=hint)
    print_json(schema_of(found))

"""``edgewright dataset preview``: a contact sheet of pictures with their labels."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edgewright.cli.console import stdout
from edgewright.cli.options import HERE, EnvOption, RefOption, RepoOption, StateOption, WorktreeOption
from edgewright.cli.workspaces import open_workspace


class SheetFormat(StrEnum):
    """Formats of contact sheets."""

    HTML = "html"
    PNG = "png"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "preview",
        epilog="Examples: edgewright dataset preview dataset/shelf · edgewright dataset preview dataset/shelf -o png "
        "--split test --seed 3",
    )(preview)


def preview(
    address: Annotated[str, typer.Argument(help="A dataset of pictures, like dataset/shelf.")],
    output: Annotated[SheetFormat, typer.Option("-o", "--output", help="Format of the sheet.")] = SheetFormat.HTML,
    file: Annotated[
        Path | None, typer.Option("--file", help="Where to write it.", show_default="NAME.html or NAME.png here")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="train, validation or test.", show_default="all")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=500, help="How many pictures.")] = 24,
    seed: Annotated[int, typer.Option("--seed", help="Another one chooses others.")] = 0,
    repo: RepoOption = HERE,
    ref: RefOption = None,
    worktree: WorktreeOption = False,
    state: StateOption = None,
    env: EnvOption = None,
) -> None:
    """Write a contact sheet of a built dataset: pictures chosen by a seed, with their labels drawn.

    Some of the pictures are without objects, where there are such.
    """
    from edgewright.durable import write_atomic
    from edgewright.render.contact_sheet import sheet_html, sheet_png
    from edgewright.services.datasets.previews import preview_dataset

    workspace = open_workspace(repo, ref=ref, worktree=worktree, state=state, env=env)
    found = preview_dataset(workspace, address, split=split, count=count, seed=seed)
    target = file or Path(f"{found.address.partition('/')[2]}.{output.value}")
    data = sheet_png(found) if output is SheetFormat.PNG else sheet_html(found).encode()
    write_atomic(target, data)
    stdout().print(f"{target}: {len(found.pictures)} of {found.rows:,} pictures of {found.address}", soft_wrap=True)

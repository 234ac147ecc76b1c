"""Options that commands about devices share: labels as people write them."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from edgewright.errors import EdgewrightError

LabelsOption = Annotated[list[str] | None, typer.Option("--label", help="KEY=VALUE; repeatable.", show_default=False)]
_LABEL = re.compile(r"([^=\s]+)=(.*)")


def labels_of(given: Sequence[str] | None) -> dict[str, str]:
    """Parse labels.

    Raises:
        EdgewrightError: One is not written as KEY=VALUE.
    """
    found = {}
    for text in given or ():
        match = _LABEL.fullmatch(text)
        if match is None:
            raise EdgewrightError(f"--label {text} is not written as KEY=VALUE", hint="write it like --label region=eu")
        found[match[1]] = match[2]
    return found

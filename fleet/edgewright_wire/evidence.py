"""What the installer says on a device that another update system updates, version 1.

It travels however that system lets something travel: a line of output, a file, an attribute of an inventory.
"""

from typing import Annotated, Literal

from pydantic import Field

from edgewright_wire.messages import ModelReport, WireModel

Nonce = Annotated[str, Field(max_length=256)]


class Evidence(WireModel):
    """What came of one order to the installer, about one model."""

    evidence: Literal[1] = 1
    """Version of the message."""
    nonce: Nonce = ""
    """As the order gave it: tells this answer from one to an earlier order."""
    model: ModelReport


class InstalledEvidence(WireModel):
    """What a device holds of every model, and what was proved of it there."""

    evidence: Literal[1] = 1
    nonce: Nonce = ""
    models: tuple[ModelReport, ...] = ()
    """By name."""

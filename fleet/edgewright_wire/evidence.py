"""Evidence of the installer on a device that another update system updates, version 1.

It travels however that system lets something travel: a line of output, a file, an attribute of an inventory.
"""

from typing import Annotated, Literal

from pydantic import Field

from edgewright_wire.messages import ModelReport, WireModel

Nonce = Annotated[str, Field(max_length=256)]


class Evidence(WireModel):
    """Result of one order to the installer, for one model."""

    evidence: Literal[1] = 1
    """Version of the message."""
    nonce: Nonce = ""
    """As the order gave it: tells this answer from one to an earlier order."""
    model: ModelReport


class InstalledEvidence(WireModel):
    """Installed models of a device, with the proof of each."""

    evidence: Literal[1] = 1
    nonce: Nonce = ""
    models: tuple[ModelReport, ...] = ()
    """By name."""

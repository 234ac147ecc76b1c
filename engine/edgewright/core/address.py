"""Addresses: ``kind/name``, how resources are named everywhere."""

from typing import NamedTuple


class Address(NamedTuple):
    """A resource's address. Orders by kind, then name."""

    kind: str
    """Lower case: ``dataset``, ``model``, ``thresholds``, ``fleet``, ``rollout``, ``repository``."""
    name: str

    def __str__(self) -> str:
        """Write ``kind/name``."""
        return f"{self.kind}/{self.name}"


def parse_address(text: str) -> Address:
    """Read ``kind/name``.

    Raises:
        ValueError: It is no address.
    """
    kind, slash, name = text.partition("/")
    if not slash or not kind or not name:
        raise ValueError(f"{text!r} is no address; write kind/name, like model/price-tag-reader")
    return Address(kind.lower(), name)

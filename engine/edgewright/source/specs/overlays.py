"""Overlay documents merged into those of the same kind and name. Pure; called by ``resolving`` and ``positions``.

Mappings are merged field by field, null removes a field, anything else is replaced (RFC 7396, which has the same
rules for JSON). Nodes keep the file, line and column they were written at; none is changed in place.
"""

from collections.abc import Iterable
from dataclasses import replace

from edgewright.source.specs.yaml_nodes import Node


def merged(base: Node | None, patches: Iterable[Node]) -> Node:
    """Merge patches into a document, one after the other; without a base the first is added whole.

    Raises:
        ValueError: There is neither a base nor a patch.
    """
    for patch in patches:
        base = _merge(base, patch)
    if base is None:
        raise ValueError("there is nothing to merge")
    return base


def _merge(base: Node | None, patch: Node) -> Node:
    if not isinstance(patch.value, dict):
        return patch
    if base is not None and isinstance(base.value, dict):
        fields, removed, whole = dict(base.value), dict(base.removed or {}), replace(base, patched=patch)
    else:
        fields, removed, whole = {}, {}, replace(patch)
    for name, (key, value) in patch.value.items():
        if value.value is None:
            removed[name] = key
            fields.pop(name, None)
            continue
        old_key, old = fields.get(name, (key, None))
        both = old is not None and isinstance(old.value, dict) and isinstance(value.value, dict)
        fields[name] = (old_key if both else key, _merge(old, value))
    whole.value, whole.removed = fields, removed or None
    return whole

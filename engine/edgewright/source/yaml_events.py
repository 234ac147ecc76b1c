"""Events of a YAML text by libyaml, where they are known to be those of ruamel.yaml's parser; several times as fast.

libyaml parses YAML 1.1, and ruamel.yaml, the reference here, 1.2. Compared on generated texts they differ in line
breaks, tabs, tags, anchors, explicit keys, directives, ends of documents, scalars at the top, and the place of values
that are left out. A text with any of these is left to the reference, as is every text that libyaml refuses: see
docs/decisions/0033. Called by ``specs.yaml_nodes``.
"""

import re
from collections.abc import Iterator
from typing import Any

_LEFT_TO_THE_REFERENCE = re.compile(
    r"[\t\r\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]"  # breaks, tabs, and characters that one of them refuses
    r"|^%|^\.\.\."  # directives, ends of documents
    r"|(?:^|[\s\[{,:-])(?:\?(?:\s|$)|!)"  # explicit keys, tags
    r"|[|>][-+0-9]*#",  # a comment that touches a block scalar's header
    re.MULTILINE,
)


class NotTheSame(Exception):
    """The two parsers are not known to agree on this text."""


def fast_events(text: str) -> Iterator[Any]:
    """Yield the events of a text, with the attributes of ruamel.yaml's.

    Raises:
        NotTheSame: Read it with ruamel.yaml; also after some events were yielded.
    """
    try:
        from yaml._yaml import CParser
    except ImportError:
        raise NotTheSame from None
    from yaml import YAMLError

    if _LEFT_TO_THE_REFERENCE.search(text):
        raise NotTheSame
    begins = False
    try:
        parser: Any = CParser(text)
        while (event := parser.get_event()) is not None:
            kind = type(event).__name__
            if begins and kind != "MappingStartEvent":
                raise NotTheSame
            begins = kind == "DocumentStartEvent"
            is_left_out = kind == "ScalarEvent" and not event.value and event.implicit[0]
            if is_left_out or kind == "AliasEvent" or getattr(event, "anchor", None) is not None:
                raise NotTheSame
            yield event
    except (YAMLError, UnicodeError, ValueError):
        raise NotTheSame from None

"""The part of FIQL/RSQL that is asked of a hawkBit: comparisons and ``=in=``, joined by ``;``."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_TERM = re.compile(r"([A-Za-z.]+)(==|=in=|=ge=|=gt=|=le=|=lt=)(.+)")

Fields = Mapping[str, Callable[[Any], Any]]
"""How a field is read, by its name in lower case."""


class BadQuery(Exception):
    """What hawkBit answers with 400."""


def matches(query: str, entity: Any, fields: Fields) -> bool:
    """Whether an entity fits; text is compared without regard to case, ``*`` stands for anything."""
    return all(_fits(term, entity, fields) for term in _terms(query))


def _terms(query: str) -> list[str]:
    terms, depth, quoted, start = [], 0, False, 0
    for at, char in enumerate(query):
        quoted ^= char == '"'
        depth += (char == "(") - (char == ")") if not quoted else 0
        if char == ";" and not depth and not quoted:
            terms.append(query[start:at])
            start = at + 1
    return [*terms, query[start:]]


def _fits(term: str, entity: Any, fields: Fields) -> bool:
    found = _TERM.fullmatch(term)
    if found is None:
        raise BadQuery(f"cannot parse {term!r}")
    name, operator, argument = found[1].lower(), found[2], found[3]
    if name not in fields:
        raise BadQuery(f"the field {found[1]} does not exist")
    value = fields[name](entity)
    if operator == "=in=":
        wanted = [each.strip('"') for each in argument.strip("()").split(",")]
        return any(_equal(value, each) for each in wanted)
    argument = argument.strip('"')
    if operator == "==":
        return _equal(value, argument)
    if value is None:
        return False
    number = int(argument)
    return bool(
        {"=ge=": value >= number, "=gt=": value > number, "=le=": value <= number}.get(operator, value < number)
    )


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return value is (wanted.lower() == "true")
    pattern = ".*".join(re.escape(part) for part in wanted.split("*"))
    return re.fullmatch(pattern, str(value), re.IGNORECASE) is not None

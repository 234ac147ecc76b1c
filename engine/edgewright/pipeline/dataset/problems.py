"""Collects everything that is wrong with a dataset's rows, so that one error tells it all. Used while it is built."""

from edgewright.errors import StepFailed

SHOWN = 20


class Problems:
    """Problems by what they have in common; of each the count and the first examples are kept."""

    def __init__(self) -> None:
        self._examples: dict[tuple[str, str], list[str]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, what: str, example: str = "", *, hint: str = "") -> None:
        """Note a problem: ``what`` is what it has in common with others, ``example`` where it is and how it looks."""
        key = (what, hint)
        examples = self._examples.setdefault(key, [])
        self._counts[key] = self._counts.get(key, 0) + 1
        if example and len(examples) < SHOWN and example not in examples:
            examples.append(example)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def describe(self) -> list[str]:
        """Write each kind of problem with its examples."""
        return [self._line(key) for key in self._counts]

    def raise_if_any(self, subject: str) -> None:
        """Raise everything as one error.

        Raises:
            StepFailed: There is any.
        """
        if self:
            hints = list(dict.fromkeys(hint for _, hint in self._counts if hint))
            text = "\n".join(f"  - {line}" for line in self.describe())
            raise StepFailed(f"{subject}:\n{text}", hint="; ".join(hints))

    def _line(self, key: tuple[str, str]) -> str:
        what, count, examples = key[0], self._counts[key], self._examples[key]
        if not examples:
            return what
        more = f", and {count - len(examples)} more" if count > len(examples) and len(examples) == SHOWN else ""
        return f"{what} ({count}): {', '.join(examples)}{more}"

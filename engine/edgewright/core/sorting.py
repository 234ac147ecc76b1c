"""Order of texts that are numbers. Used by planning, and by the step that compares a model's outputs with classes."""

from collections.abc import Sequence


def in_numeric_order(values: Sequence[str]) -> list[str]:
    """Sort values that are all numbers as numbers; leave all others as they are."""
    return sorted(values, key=float) if sorts_otherwise(values) else list(values)


def sorts_otherwise(values: Sequence[str]) -> bool:
    """Return whether values that are all numbers stand in another order than the numbers do."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return False
    return numbers != sorted(numbers)

"""Divides rows into train, validation and test. Used while a dataset is built."""

from collections import Counter
from hashlib import sha256

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.files import SPLITS
from edgewright_schemas.dataset import Split


def choose_split(key: str, split: Split) -> str:
    """Choose a row's split from its key (its group's value, or what identifies it) and the seed alone.

    The sha256 of seed and key is a number in [0, 1) that the shares divide. A row's split depends on no other row,
    so rows that come later move none, and rows of one group stay together.
    """
    hashed = sha256(f"{split.seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
    position = int.from_bytes(hashed[:8], "big") / 2**64
    if position < split.train:
        return "train"
    # test last: rounding of the shares' sum must not make rows fall off its end.
    return "validation" if position < split.train + split.validation or split.test == 0 else "test"


def check_splits(rows: Counter[str], split: Split, groups: int | None) -> None:
    """Check that every split that should have rows has some.

    Raises:
        StepFailed: One is empty.
    """
    shares = {"train": split.train, "validation": split.validation, "test": split.test}
    empty = [name for name in SPLITS if rows[name] == 0 and (shares[name] > 0 or name == "train")]
    if not empty:
        return
    wanted = ", ".join(f"{name} ({shares[name]:.0%})" for name in empty)
    of = f"rows: {rows.total()}" + (f", groups by {split.group_by!r}: {groups}" if groups is not None else "")
    raise StepFailed(
        f"no row falls into {wanted} ({of})",
        hint="add rows, give the split a larger share, "
        + ("or group by a column with more values" if groups is not None else "or choose another seed"),
    )

"""Divides rows into train, validation and test. Used while a dataset is built."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.files import SPLITS
from edgewright_schemas.dataset import Split


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row, as far as its split depends on it."""

    key: str
    """Its group's value, or what identifies it: rows of one key stay together."""
    given: str | None = None
    """The split its folder or a column names."""
    picture: str | None = None
    """The key of the first row with the same picture."""
    strata: tuple[str, ...] = ()
    """What should be in every split: its class and its slices, as ``column=value``."""


def choose_split(key: str, split: Split) -> str:
    """Choose a row's split from its key and the seed alone, by the shares.

    The sha256 of seed and key is a number in [0, 1) that the shares divide. A row's split depends on no other row,
    so rows that come later move none, and rows of one group stay together.
    """
    return _divide(_position(key, split.seed), {name: getattr(split, name) for name in SPLITS})


def depends_on_all(split: Split) -> bool:
    """Return whether a row's split may depend on the other rows."""
    return split.column is not None or split.near_copies or split.stratify


def assign(rows: Sequence[Candidate], split: Split) -> list[str]:
    """Choose the split of every row, where that depends on all of them.

    A row that names its split gets it; where no row names a split that has a share, train is divided further.
    """
    named = {row.given for row in rows if row.given is not None}
    shares = {name: getattr(split, name) for name in SPLITS if name == "train" or name not in named}
    if split.stratify:
        chosen = stratify([row for row in rows if row.given in (None, "train")], shares, split.seed)
        return [chosen[row.key] if row.given in (None, "train") else row.given for row in rows]
    if not named:
        return [choose_split(row.key, split) for row in rows]
    return [_given(row, split, shares) for row in rows]


def stratify(rows: Sequence[Candidate], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Choose the split of every key so that each stratum has its share of each split, the rarest first.

    A stratum of few keys is in train first, then in test, then in validation. After Sechidis et al., On the
    Stratification of Multi-Label Data (2011).

    Returns:
        The split, by key.
    """
    given = [name for name in ("train", "test", "validation") if shares.get(name, 0) > 0] or ["train"]
    whole = sum(shares.get(name, 0) for name in given) or 1.0
    held: dict[str, Counter[str]] = {}
    for row in rows:
        held.setdefault(row.key, Counter()).update(("", *row.strata))
    keys: dict[str, list[str]] = {}
    for key in sorted(held, key=lambda key: _position(key, seed)):
        for stratum in held[key]:
            keys.setdefault(stratum, []).append(key)
    totals = sum(held.values(), Counter())
    wanted: dict[tuple[str, str], float] = {}
    for stratum, members in keys.items():
        rest = float(totals[stratum])
        for rank, name in reversed(list(enumerate(given))):
            share = totals[stratum] * shares.get(name, 1.0) / whole if rank < len(members) else 0.0
            wanted[stratum, name] = rest if rank == 0 else max(1.0, share) if share else 0.0
            rest -= wanted[stratum, name]
    first = dict(wanted)

    def still_wanted(key: str, name: str) -> float:
        return sum(wanted[each, name] / first[each, name] for each in held[key] if first[each, name])

    chosen: dict[str, str] = {}
    for stratum in sorted(keys, key=lambda each: (totals[each], each)):
        for key in keys[stratum]:
            if key not in chosen:
                short = [name for name in given if wanted[stratum, name] > 0] or given
                chosen[key] = max(short, key=lambda name: still_wanted(key, name))
                for each, count in held[key].items():
                    wanted[each, chosen[key]] -= count
    return chosen


def _given(row: Candidate, split: Split, shares: Mapping[str, float]) -> str:
    if row.given is not None and (row.given != "train" or len(shares) == 1 or not sum(shares.values())):
        return row.given
    return _divide(_position(row.key, split.seed), shares)


def _position(key: str, seed: int) -> float:
    hashed = sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64


def _divide(position: float, shares: Mapping[str, float]) -> str:
    """Choose by the shares, in order; the last that has one takes what rounding leaves over."""
    whole = sum(shares.values())
    whole = 1.0 if abs(whole - 1) < 1e-6 else whole  # as declared: no rounding may move a row
    bound = 0.0
    for name in (name for name in SPLITS if shares.get(name, 0) > 0):
        bound += shares[name] / whole
        chosen = name
        if position < bound:
            break
    return chosen


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
    near = "leave nearCopies out where pictures look alike by nature, " if split.near_copies else ""
    raise StepFailed(
        f"no row falls into {wanted} ({of})",
        hint=f"add rows, {near}give the split a larger share, "
        + ("or group by a column with more values" if groups is not None else "or choose another seed"),
    )

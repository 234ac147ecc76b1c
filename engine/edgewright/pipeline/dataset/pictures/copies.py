"""Copies of one picture under several names: equal ones by content, near ones by their looks. Used by ``preparation``.

Copies in train and test make every figure too good. Equal pixels, before or after the steps, are found always; pictures
saved again or at another size where ``split.nearCopies`` asks for it.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIDE = 16
_MOST_BITS = 7
"""Bits of 64 in which the gradients of near copies may differ: one of eight bytes is then equal."""
_MEAN, _LARGEST = 3.0, 12.0
"""Levels of 255 by which small versions of near copies may differ, on average and anywhere."""
_MOST_AT_ONCE, _PAIRS_AT_ONCE = 1 << 22, 1 << 14
"""Comparisons held in memory."""


class Copies:
    """Names every picture by the first that is its copy."""

    def __init__(self, *, near: bool) -> None:
        self.rows = 0
        """Rows whose picture is equal to that of an earlier one."""
        self.near_rows = 0
        """Rows whose picture is near to that of an earlier one, and equal to none."""
        self.labelled_otherwise = 0
        """Of the former, those with another label than the first."""
        self.examples: list[str] = []
        self._keys: dict[bytes, str] = {}
        self._labels: dict[str, str] = {}
        self._near = near
        self._looks: dict[str, tuple[int, npt.NDArray[np.uint8]]] = {}
        """Of each first picture: the signs of its gradients, and itself, small."""

    def name(self, key: str, digest: bytes | None, after: npt.NDArray[np.uint8], label: str) -> str:
        """Return the key of the first picture that is equal to this one, which may be this one's own.

        Args:
            key: What identifies the row.
            digest: The picture's content as the source has it.
            after: The picture as the steps leave it.
            label: The row's label.
        """
        digests = [digest, content_digest(after)] if digest is not None else [content_digest(after)]
        first = next((self._keys[each] for each in digests if each in self._keys), None)
        for each in digests:
            self._keys.setdefault(each, first or key)
        if first is None:
            self._labels[key] = label
            if self._near:
                self._looks[key] = _look(after)
            return key
        self.rows += 1
        self.labelled_otherwise += self._labels[first] != label
        if len(self.examples) < 3:
            self.examples.append(f"{key} = {first}")
        return first

    def near(self) -> dict[str, str]:
        """Return for each first picture that is near an earlier one the key of the earliest; none unless asked for."""
        keys = list(self._looks)
        parents = list(range(len(keys)))

        def root(index: int) -> int:
            while parents[index] != index:
                parents[index] = parents[parents[index]]
                index = parents[index]
            return index

        for one, other in _pairs([self._looks[key] for key in keys]):
            low, high = sorted((root(one), root(other)))
            parents[high] = low
        found = {keys[index]: keys[root(index)] for index in range(len(keys)) if root(index) != index}
        self.near_rows = len(found)
        return found


def content_digest(picture: npt.NDArray[Any]) -> bytes:
    """Digest a picture's pixels and shape."""
    return blake2b(
        np.ascontiguousarray(picture).tobytes(), digest_size=16, person=str(picture.shape).encode()[:16]
    ).digest()


def _look(picture: npt.NDArray[np.uint8]) -> tuple[int, npt.NDArray[np.uint8]]:
    grey = picture if picture.ndim == 2 else picture.mean(axis=2).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(grey))
    small = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX))
    coarse = np.asarray(image.resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    bits = np.packbits(coarse[:, 1:] > coarse[:, :-1])
    return int.from_bytes(bits.tobytes(), "big"), small


def _pairs(looks: list[tuple[int, npt.NDArray[np.uint8]]]) -> Iterator[tuple[int, int]]:
    """Find the pairs of near pictures: those with an equal byte of the gradients' signs are compared."""
    signs = np.array([sign for sign, _ in looks], np.uint64)
    small = np.array([picture for _, picture in looks], np.int16).reshape(len(looks), _SIDE * _SIDE)
    for byte in range(8):
        parts = (signs >> np.uint64(8 * byte)) & np.uint64(255)
        for part in np.unique(parts):
            members = np.flatnonzero(parts == part)
            block = max(1, _MOST_AT_ONCE // len(members))
            for start in range(0, len(members), block):
                rows = members[start : start + block]
                apart = np.bitwise_count(signs[rows, np.newaxis] ^ signs[np.newaxis, members])
                found = np.argwhere(apart <= _MOST_BITS)
                pairs = np.stack([rows[found[:, 0]], members[found[:, 1]]], axis=1)
                pairs = pairs[pairs[:, 0] < pairs[:, 1]]
                for at in range(0, len(pairs), _PAIRS_AT_ONCE):
                    some = pairs[at : at + _PAIRS_AT_ONCE]
                    differences = np.abs(small[some[:, 0]] - small[some[:, 1]])
                    near = (differences.max(axis=1) <= _LARGEST) & (differences.mean(axis=1) <= _MEAN)
                    yield from ((int(one), int(other)) for one, other in some[near])

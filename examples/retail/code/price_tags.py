"""Handwritten digits, from scikit-learn's copy of the UCI optical digits set, as lane cameras would see them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_digits


def rows(stores: int, dimShare: float, seed: int) -> Iterator[dict[str, Any]]:  # noqa: N803  # named as in the spec
    """Yield one row for each digit; a share of them darker and with sensor noise."""
    digits = load_digits()
    random = np.random.default_rng(seed)
    for image, label in zip(digits.images, digits.target, strict=True):
        dim = random.random() < dimShare
        light = image / 16.0
        if dim:
            light = 0.45 * light + random.normal(0.0, 0.03, light.shape)
        yield {
            "image": (light.clip(0, 1) * 255).round().astype(np.uint8),
            "label": str(label),
            "store": f"store-{random.integers(stores):02d}",
            "lighting": "dim" if dim else "bright",
        }

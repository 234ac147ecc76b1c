"""What happens to a frame before a model sees it; the application on the device does the same."""

from typing import Any

import numpy as np


def equalize(row: dict[str, Any], low: float = 2, high: float = 98) -> dict[str, Any]:
    """Stretch a frame's brightness so that these percentiles become black and white.

    A night frame then looks like a noisy bright one.
    """
    image = row["image"].astype(np.float32)
    black, white = np.percentile(image, [low, high])
    stretched = (image - black) / max(float(white - black), 1.0)
    return {**row, "image": (stretched.clip(0, 1) * 255).round().astype(np.uint8)}

"""Frames as a camera above a self-checkout lane would take them, rendered from a seed.

A frame is 32 x 24 grey pixels. The counter is at the top, the queue grows downwards between two painted lines.
People are seen from above: shoulders, a head, a shadow away from the lamp, some with a basket. What makes it hard:
every store has its own floor, paint and camera position; people also pass by outside the lane, and baskets are left
on the floor without their owners; neither counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH = 32, 24
MOST = 5
"""People that fit into the picture."""
# Share of the light that is left, and the sensor's noise: (gain, standard deviation), both of full scale 1.
LIGHTING = {"bright": (1.0, 0.02), "dim": (0.45, 0.025), "night": (0.12, 0.05)}

Canvas = npt.NDArray[np.float64]
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)


@dataclass(frozen=True)
class Store:
    """What all frames of one store share; lengths in pixels, brightness in [0, 1]."""

    name: str
    floor: float
    paint: float
    centre: float
    shadow: tuple[float, float]


def rows(stores: int, framesPerStore: int, seed: int) -> Iterator[dict[str, Any]]:  # noqa: N803  # named as in the spec
    """Yield one row for each frame; queues of 0 to 5 people are equally frequent, and so is lighting."""
    random = np.random.default_rng(seed)
    for number in range(stores):
        store = _store(f"store-{number:02d}", random)
        for frame in range(framesPerStore):
            waiting = frame % (MOST + 1)
            lighting = str(random.choice(list(LIGHTING)))
            yield {
                "image": _light(_frame(store, waiting, random), lighting, random),
                "label": str(waiting) if waiting < 4 else "4+",
                "store": store.name,
                "lane": f"{store.name}-{random.integers(1, 5)}",
                "lighting": lighting,
            }


def _store(name: str, random: np.random.Generator) -> Store:
    angle = random.uniform(0, 2 * np.pi)
    return Store(
        name=name,
        floor=random.uniform(0.4, 0.65),
        paint=random.uniform(0.8, 0.95),
        centre=WIDTH / 2 + random.uniform(-1.0, 1.0),
        shadow=(1.5 * float(np.sin(angle)), 1.5 * float(np.cos(angle))),
    )


def _frame(store: Store, waiting: int, random: np.random.Generator) -> Canvas:
    """Draw one frame in full light, (HEIGHT, WIDTH) in [0, 1]."""
    canvas = np.full((HEIGHT, WIDTH), store.floor) + random.normal(0, 0.01, (HEIGHT, WIDTH))
    for line in (store.centre - 6, store.centre + 6):
        canvas = _blend(canvas, np.abs(_X - line) < 0.7, store.paint)
    canvas = _blend(canvas, _Y < 3, 0.25)  # the counter
    place = 6.0 + random.uniform(-1.0, 1.0)
    for _ in range(waiting):
        _person(canvas, place, store.centre + random.normal(0, 0.7), store, random)
        place += random.uniform(4.8, 5.6)
    if random.random() < 0.25:  # somebody passes by
        side = store.centre + random.choice([-1, 1]) * random.uniform(9.5, 10.5)
        _person(canvas, random.uniform(5, HEIGHT - 4), side, store, random)
    if random.random() < 0.2:  # a basket without its owner
        _basket(canvas, random.uniform(6, HEIGHT - 4), store.centre + random.choice([-1, 1]) * 4.0)
    return canvas


def _person(canvas: Canvas, y: float, x: float, store: Store, random: np.random.Generator) -> None:
    """Draw one person into the canvas: shadow, shoulders, head, and perhaps a basket."""
    clothes = random.choice([random.uniform(0.08, 0.28), random.uniform(0.78, 0.98)])  # darker or lighter than floors
    hair = random.uniform(0.05, 0.25) if clothes > 0.5 else random.uniform(0.5, 0.9)
    shadow = _ellipse(y + store.shadow[0], x + store.shadow[1], 2.0, 3.2)
    canvas[:] = _blend(canvas, shadow, 0.75 * store.floor)
    canvas[:] = _blend(canvas, _ellipse(y, x, 1.7, random.uniform(2.7, 3.3)), clothes)
    canvas[:] = _blend(canvas, _ellipse(y, x, 1.1, 1.1), hair)
    if random.random() < 0.4:
        _basket(canvas, y, x + random.choice([-1, 1]) * 4.2)


def _basket(canvas: Canvas, y: float, x: float) -> None:
    canvas[:] = _blend(canvas, (np.abs(_Y - y) < 1.1) & (np.abs(_X - x) < 1.1), 0.35)


def _ellipse(y: float, x: float, height: float, width: float) -> Canvas:
    """Coverage of an ellipse with these half axes, soft at its edge."""
    distance = np.sqrt(((_Y - y) / height) ** 2 + ((_X - x) / width) ** 2)
    coverage: Canvas = ((1.25 - distance) / 0.5).clip(0, 1)
    return coverage


def _blend(canvas: Canvas, coverage: npt.NDArray[Any], value: float) -> Canvas:
    mixed: Canvas = canvas * (1 - coverage) + value * coverage
    return mixed


def _light(canvas: Canvas, lighting: str, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Take the picture: less light, a lamp that is not quite above the lane, and the sensor's noise."""
    gain, noise = LIGHTING[lighting]
    slope = random.uniform(-0.15, 0.15)
    seen = canvas * gain * (1 + slope * (_X / WIDTH - 0.5)) + random.normal(0, noise * gain**0.5, canvas.shape)
    pixels: npt.NDArray[np.uint8] = (seen.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels

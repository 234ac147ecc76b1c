#!/usr/bin/env bash
# Pillow 13.0.0 resizes columns before rows where the height shrinks much more than the width; 12 and earlier never did.
# Each pass rounds to eight bits, so the same picture comes out with other pixels: a dataset that was resized by one
# version and a device that resizes by the other differ by one grey level, here in a quarter of the pixels.
#
# Two calls, first to the new width and then to the new height, give the same in both versions.
#
# Seen, a random grey picture of 93 × 94 to 86 × 69, bilinear:
#   12.0.0: one call and two calls differ in 0 pixels
#   13.0.0: one call and two calls differ in 1461 pixels, by 1 at most
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 12.0.0 13.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "pillow==$version" numpy==2.4.6
    "$folder/$version/bin/python" - <<'PYTHON' | tee -a "$folder/seen"
import numpy as np
import PIL
from PIL import Image
values = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (94, 93), dtype=np.uint8)
picture = Image.fromarray(values)
once = np.asarray(picture.resize((86, 69), Image.Resampling.BILINEAR)).astype(int)
wide = picture.resize((86, 94), Image.Resampling.BILINEAR)
twice = np.asarray(wide.resize((86, 69), Image.Resampling.BILINEAR)).astype(int)
apart = abs(once - twice)
by = f", by {apart.max()} at most" if apart.any() else ""
print(f"{PIL.__version__}: one call and two calls differ in {(apart > 0).sum()} pixels{by}")
PYTHON
done
[ "$(cat "$folder/seen")" = "12.0.0: one call and two calls differ in 0 pixels
13.0.0: one call and two calls differ in 1461 pixels, by 1 at most" ] || { echo "the behaviour has changed" >&2; exit 1; }

"""From a camera's frame to a typed result: preprocessing, decoding and non-maximum suppression, in numpy alone.

Engine and devices run this code alike: the evaluation measures what devices compute, and golden samples cover the whole
way. Geometry is in pixels, continuous and zero-based: the first pixel of a picture covers 0 to 1.
"""

"""From a camera's frame to a typed result: preprocessing, decoding and non-maximum suppression, in numpy alone.

Datasets are letterboxed and detections decoded by this code on the engine, and applications on devices can import it;
the agent does not call it yet. Geometry is in pixels, continuous and zero-based: the first pixel of a picture covers 0
to 1.
"""

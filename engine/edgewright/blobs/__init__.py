"""Blobs: the bytes of artifacts, stored by their sha256.

``blobs`` stores them in a folder, ``retention`` decides which artifacts and blobs are still wanted, ``gc`` removes
the others.
"""

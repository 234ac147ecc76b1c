"""Blobs: the bytes of artifacts, stored by their sha256.

``file_store`` keeps them in a folder, ``retention`` selects the artifacts and blobs to keep, ``gc`` removes
the others.
"""

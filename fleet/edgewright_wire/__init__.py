"""The contract between engine and device.

Frozen, versioned messages in canonical JSON. ``canonical`` writes and digests JSON; ``names`` holds the grammars of
device ids, models' names and digests; ``messages`` holds assignments and reports; ``enrollment`` holds requests for a
device's certificate and the answers; ``evidence`` holds the installer's answers where another system updates the
device; ``package`` names the parts of a package; ``layout`` names the files of a published repository and of a payload;
``slots`` names the files of a model on a device.
Golden files under ``tests/contract/wire`` must parse on both sides forever.
"""

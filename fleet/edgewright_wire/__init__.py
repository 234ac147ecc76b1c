"""The contract between engine and device.

Frozen, versioned messages in canonical JSON. ``canonical`` writes and digests JSON; ``messages`` holds what is
said; ``evidence`` holds what the installer says where another system updates the device; ``package`` names the parts
of a package; ``layout`` names the files of a published repository and of a payload.
Golden files under ``tests/contract/wire`` must parse on both sides forever.
"""

"""Certificates for tests, as openssl makes them."""

import subprocess
from pathlib import Path


def self_signed(folder: Path, name: str, *extra: str) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that is its own authority, and its key."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(chain), "-keyout", str(key)]
    subprocess.run([*made, *(extra or ("-nodes",))], check=True, capture_output=True)
    return chain, key

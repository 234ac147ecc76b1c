"""Mender's own client as a device: in namespaces of its own, so that several run at once, the machine's ``/etc/mender``
and ``/usr/share/mender`` are not changed, and all of a device's processes end together, as when its power is cut.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from clients import require_client
from rigs.mender import set_up

ETC, SHARE = Path("/etc/mender"), Path("/usr/share/mender")


class RealMender:
    """A device with ``mender-client``.

    Args:
        folder: Everything of the device; models are kept in ``folder/root``.
        url: Of the server.
        device: The inventory's id, which its identity holds.
        verify_key: What artifacts must be signed with.
    """

    def __init__(self, folder: Path, url: str, device: str, verify_key: Path, tenant: str = "") -> None:
        self._program = require_client("mender")
        self.folder = folder
        self.root = folder / "root"
        self._process: subprocess.Popen[bytes] | None = None
        share, etc = folder / "share", folder / "etc"
        etc.mkdir(parents=True)
        (folder / "data").mkdir()
        shutil.copytree(SHARE, share)
        set_up(self.root, share)
        (etc / "artifact_info").write_text("artifact_name=factory\n")
        identity = share / "identity/mender-device-identity"
        identity.write_text(f"#!/bin/sh\necho device={device}\n")
        identity.chmod(0o755)
        (folder / "device_type").write_text("device_type=edgewright\n")
        settings = {
            "DBus": {"Enabled": False},
            "ServerURL": url,
            "TenantToken": tenant,
            "UpdatePollIntervalSeconds": 1,
            "InventoryPollIntervalSeconds": 300,
            "RetryPollIntervalSeconds": 1,
            "DeviceTypeFile": str(folder / "device_type"),
            "ArtifactVerifyKey": str(verify_key),
        }
        (folder / "mender.conf").write_text(json.dumps(settings))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        if error is not None:
            print(self.log()[-6000:])

    def start(self) -> None:
        """Switch the device on."""
        binds = [
            f"mount --bind {shlex.quote(str(self.folder / n))} {there}" for n, there in (("etc", ETC), ("share", SHARE))
        ]
        client = [self._program, "--config", self.folder / "mender.conf", "--data", self.folder / "data", "--no-syslog"]
        command = " && ".join([*binds, f"exec {shlex.join(map(str, client))} daemon"])
        alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"]
        if os.geteuid() != 0:
            alone.append("--map-root-user")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*alone, "sh", "-c", command], stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Cut the device's power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def wake(self) -> None:
        """End whatever wait the client is in."""
        assert self._process is not None
        for child in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGUSR1)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

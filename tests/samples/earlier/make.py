#!/usr/bin/env python3
"""Makes the repositories of an earlier version that ``test_earlier_state`` unpacks: see README.md beside this file.

::

    python make.py --checkout PATH [--out FOLDER] [--work FOLDER] [--days 400] [NAME ...]

``PATH`` is a checkout with ``.venv``, in which the version to keep is installed. Everything is done through its
programs, as a user would: ``edgewright``, ``edgewright-agent`` and ``git``.
It takes some minutes, and wants a C compiler.
"""

import argparse
import gzip
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from declared import (  # type: ignore[import-not-found]  # beside this program
    EPOCHS,
    HEAD,
    IMPORTED,
    KILLING,
    model,
    plain,
    rollout,
    thresholds,
    with_environments,
)

HERE = Path(__file__).resolve().parent
PATIENCE = 300.0
MOMENT = 1750000000
"""The time of every file in a package."""


@dataclass(frozen=True)
class Site:
    """A folder with the spec repository ``shop`` and the folders of its devices."""

    checkout: Path
    folder: Path
    days: int

    @property
    def shop(self) -> Path:
        return self.folder / "shop"

    def beside(self, suffix: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{suffix}")

    @property
    def bin(self) -> Path:
        return self.checkout / ".venv/bin"

    def environment(self) -> dict[str, str]:
        """Nobody's configuration and identity, and one thread."""
        who = {"NAME": "Ada Example", "EMAIL": "ada@example.com"}
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "EDGEWRIGHT_", "PYTHON"))},
            **{f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in who.items()},
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.beside("home")),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TEMPLATE_DIR": "",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "LD_PRELOAD": str(self.beside("so")),
            "EARLIER_SECONDS": str(self.days * 86400),
        }

    def start(self, *command: object, **options: Any) -> "subprocess.Popen[str]":
        """Start a program, its clock set back."""
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.shop if self.shop.exists() else self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            text=True,
            **options,
        )

    def run(self, *command: object, code: int = 0) -> str:
        """Run a program to its end.

        Raises:
            SystemExit: It ended with another code.
        """
        print("$", " ".join(str(part) if len(str(part)) < 100 else "…" for part in command), flush=True)
        process = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode != code:
            sys.exit(f"exit code {process.returncode} instead of {code}\n{out}\n{err}")
        return out

    def edgewright(self, *arguments: object, code: int = 0) -> str:
        return self.run("edgewright", *arguments, code=code)

    def commit(self, files: Mapping[str, str | bytes], message: str) -> None:
        for name, content in files.items():
            path = self.shop / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def begin(self, files: Mapping[str, str]) -> None:
        """``init``, and in place of the scaffold's specs these."""
        self.folder.mkdir(parents=True)
        self.edgewright("init", "shop")
        for entry in self.shop.iterdir():
            if entry.name not in {".git", ".gitignore", ".edgewright", "edgewright.yaml"}:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.commit(files, "Declare shelves")

    def enlist(self, device: str, env: str = "") -> None:
        """Set a device up."""
        state = self.shop / ".edgewright" / (f"environments/{env}" if env else "")
        self.run(
            *("edgewright-agent", "init", "--dir", self.folder / "devices" / device, "--device", device),
            *("--device-class", "sensor", "--poll", "300ms", "--heartbeat", "1s"),
            *("--repository", state / "repository", "--reports", state / "reports"),
            *("--root", state / "repository/metadata/root.json"),
        )

    @contextmanager
    def switched_on(self, *devices: str) -> Iterator[None]:
        """Run agents."""
        agents = []
        for device in devices:
            log = (self.folder / f"{device}.log").open("a")
            config = self.folder / "devices" / device / "agent.toml"
            agents.append(self.start("edgewright-agent", "run", "--config", config, stdout=log, stderr=log))
        try:
            yield
            time.sleep(2)  # their last reports
        finally:
            for agent in agents:
                agent.terminate()
            for agent in agents:
                agent.wait()

    def expect(self, names: Mapping[str, Sequence[str]]) -> None:
        """Note what this version says of the state, as JSON."""
        folder = self.folder / "expected"
        folder.mkdir()
        for name, arguments in names.items():
            (folder / f"{name}.json").write_text(self.edgewright(*arguments, "-o", "json"))


def applied(site: Site) -> None:
    """Two environments at rest, after two releases, a gate that stopped one, and a revert."""
    site.begin(with_environments())
    for env, devices in (("staging", ["lab-1"]), ("production", ["shop-1", "shop-2"])):
        site.run("git", "tag", "-f", "production")
        site.edgewright("init", ".", "--keys-only", "--env", env)
        for device in devices:
            site.enlist(device, env)
        with site.switched_on(*devices):
            site.edgewright("plan", "--env", env, "--out", site.folder / "first.plan")
            site.edgewright("apply", site.folder / "first.plan", "--env", env)
    (site.folder / "first.plan").unlink()
    site.commit({"specs/model.yaml": model(rate=0.04)}, "Learn slower")
    with site.switched_on("lab-1"):
        site.edgewright("apply", "--yes", "--env", "staging")
        site.commit({"specs/thresholds.yaml": thresholds(size="100B")}, "Ask for a tiny model")
        site.edgewright("apply", "--yes", "--env", "staging", code=3)
        site.run("git", "revert", "--no-edit", "HEAD")
        site.edgewright("apply", "--yes", "--env", "staging")
    site.run("git", "tag", "-f", "production", "HEAD~2")
    with site.switched_on("shop-1", "shop-2"):
        site.edgewright("apply", "--yes", "--env", "production")
    site.edgewright("devices", "enroll", "spare-1", "--label", "store=c", "--env", "staging")
    site.edgewright("plan", "--detailed-exitcode", "--env", "production")
    site.expect(
        {
            f"{name}-{env}": [*arguments, "--env", env]
            for env in ("staging", "production")
            for name, arguments in {
                "plan": ["plan"],
                "status": ["status"],
                "history": ["history"],
                "devices": ["devices", "list"],
                "rollout": ["rollout", "status", "shelf"],
                "explain": ["explain", "model/shelf"],
            }.items()
        }
    )


def base(site: Site) -> None:
    """A first release on two devices; the others begin here."""
    site.begin(plain())
    for device in ("dev-1", "dev-2"):
        site.enlist(device)
    with site.switched_on("dev-1", "dev-2"):
        site.edgewright("apply", "--yes", code=4)
        site.edgewright("rollout", "approve", "shelf")
        site.edgewright("apply", "--yes")
    site.edgewright("plan", "--detailed-exitcode")


def mid_rollout(site: Site) -> None:
    """A second release that runs on the canary and waits for an approval; a person has asked for a pause since."""
    site.commit({"specs/model.yaml": model(rate=0.04)}, "Learn slower")
    with site.switched_on("dev-1", "dev-2"):
        site.edgewright("apply", "--yes", code=4)
    site.edgewright("rollout", "pause", "shelf")
    site.expect(
        {
            "plan": ["plan"],
            "status": ["status"],
            "history": ["history"],
            "devices": ["devices", "list"],
            "rollout": ["rollout", "status", "shelf"],
        }
    )


def killed(site: Site) -> None:
    """A second model is added, and apply is killed while its package is published."""
    onnx = site.shop / "models/trend.onnx"
    onnx.parent.mkdir()
    site.run(site.bin / "python", "-c", IMPORTED, onnx)
    digest = site.run("sha256sum", onnx).split()[0]
    trend = (
        HEAD + "kind: Model\nmetadata: {name: trend}\nspec:\n  task: tabular-classification\n  dataset: shelf\n"
        f"  source: {{uri: models/trend.onnx, digest: 'sha256:{digest}'}}\n"
    )
    site.commit({"specs/trend.yaml": trend, "specs/trend-rollout.yaml": rollout("trend")}, "Add somebody's model")
    site.edgewright("plan", "--out", site.folder / "killed.plan")
    site.run(site.bin / "python", "-c", KILLING, "apply", site.folder / "killed.plan", code=-signal.SIGKILL)
    site.edgewright("plan", "--out", site.folder / "next.plan")
    site.expect({"plan": ["plan"], "history": ["history"]})


def killed_training(site: Site) -> None:
    """apply is killed, with its worker, in the middle of a training."""
    site.commit({"specs/model.yaml": model(rate=0.01, epochs=EPOCHS)}, "Learn longer")
    process = site.start("edgewright", "apply", "--yes", stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        epoch = re.search(rf"epoch (\d+)/{EPOCHS}", line)
        if epoch and int(epoch[1]) >= 3:
            break
    process.kill()
    process.wait()
    for worker in _processes_with(str(site.folder)):
        os.kill(worker, signal.SIGKILL)
    time.sleep(1)
    assert list(site.shop.glob(".edgewright/work/*/**/training.checkpoint")), "it was killed too early, or too late"
    site.expect({"plan": ["plan"], "history": ["history"]})


def _processes_with(text: str) -> list[int]:
    """Those whose command line has a text, which is the folder that only this program works in."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


MAKERS: Mapping[str, tuple[Callable[[Site], None], bool]] = {
    "applied": (applied, False),
    "mid-rollout": (mid_rollout, True),
    "killed": (killed, True),
    "killed-training": (killed_training, True),
}
"""By name, what makes it, and whether it begins with ``base``."""


# ── how it is packed ──────────────────────────────────────────────────────────────────────────────────────────────


def pack(folder: Path, target: Path) -> None:
    """Write the same bytes for the same files, whoever packs them and when."""
    plain_bytes = io.BytesIO()
    with tarfile.open(fileobj=plain_bytes, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            if _left_out(path.relative_to(folder)):
                continue
            info = tar.gettarinfo(path, str(path.relative_to(folder)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = MOMENT
            private = not stat.S_IMODE(path.lstat().st_mode) & 0o077
            info.mode = (0o700 if private else 0o755) if info.isdir() else (0o600 if private else 0o644)
            if info.islnk():  # the same file twice, as the delivery's blobs are: whole each time
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
            with path.open("rb") if info.isreg() else io.BytesIO() as content:
                tar.addfile(info, content if info.isreg() else None)
    with target.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as zipped:
        zipped.write(plain_bytes.getvalue())


def _left_out(path: Path) -> bool:
    """What is made again at once: SQLite's shared memory, logs, the cache of specs that no other version reads."""
    return path.name.endswith(("-shm", ".log")) or (path.parent.name == "cache" and path.name.startswith("source-"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checkout", type=Path, required=True, help="a checkout with .venv")
    options.add_argument("--out", type=Path, default=HERE, help="where the packages go")
    options.add_argument("--work", type=Path, default=Path("/tmp/earlier"), help="where they are made; is emptied")
    options.add_argument("--days", type=int, default=400, help="how far clocks are set back; 0: not")
    options.add_argument("names", nargs="*", help=f"of {', '.join(MAKERS)}")
    given = options.parse_args()
    site = Site(given.checkout.absolute(), given.work.absolute(), given.days)
    kept, home = site.beside("base"), site.beside("home")
    made: dict[str, Any] = {}
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", site.beside("so"), HERE / "earlier.c"], check=True)
    for folder in (site.folder, kept, home):
        if folder.exists():
            shutil.rmtree(folder)
    home.mkdir(parents=True)
    for name in given.names or MAKERS:
        make, based = MAKERS[name]
        if based:
            if not kept.exists():
                base(site)
                site.folder.rename(kept)
            shutil.copytree(kept, site.folder, symlinks=True)  # in the same place, whose path is in some files
        make(site)
        (site.folder / "made.json").write_text(json.dumps({"folder": str(site.folder), "state": name}) + "\n")
        target = given.out / f"{name}.tar.gz"
        pack(site.folder, target)
        made[name] = target.stat().st_size
        shutil.rmtree(site.folder)
    for folder in (kept, home):
        shutil.rmtree(folder, ignore_errors=True)
    site.beside("so").unlink()
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()

"""Shell scripts for devices, as text for their ``sh``. Pure; called by ``session``, ``jobs`` and ``upload``.

Each function returns one script, which is one process start on the device's side of the connection. A device needs sh,
cat, ls, ln, mv (with -T), rm, mkdir, cp, sync and sha256sum, as busybox has them; tar only saves time. Names come from
specs and packages, and from the output of devices: each is quoted, and those that could leave their folder are refused.
Scripts print answers, lines that begin with ``@ew``, which ``inspection`` parses.

::

    ROOT/models/…             as edgewright_wire.slots has them
    STORE/blobs/<hex>         files by their sha256, verified; slots and payloads have them as hard links
    STORE/incoming/<hex>      files during upload; <hex>.<offset> continues one that was interrupted
    STORE/incoming/payload-N/ the installer's input, by the order's number
    STORE/evidence.json       its evidence
    STORE/.lock               exists while the device is changed

STORE is ROOT, or ~/.edgewright where only the installer may write ROOT.
"""

import shlex
from collections.abc import Iterable, Sequence

from edgewright_schemas.delivery import Restart
from edgewright_wire.slots import ACTIVE, MARKER_FILE, MODELS, SLOTS, Slot, slot_path

MARK = "@ew"
LONGEST = 100_000
"""Bytes; Linux takes 128 KiB in one argument, and quoting adds some."""
FAILED = 3
"""Exit status of a script that has printed why it failed."""
_SETTLE = 1
"""Seconds after which an application that was notified of a new model must still run."""

_PRELUDE = f"""\
LC_ALL=C; export LC_ALL; umask 022
say() {{ printf '\\n{MARK} %s\\n' "$*"; }}
die() {{ say failed "$*"; exit {FAILED}; }}
cut() {{ cat /proc/self/status >.full; rm -f .full; die "$@"; }}
"""
"""``cut`` makes the device report a full disk in its own words; GNU tar reports only how much it wrote."""

_LOCK = """\
owner() { p=; b=; read -r p b <"$held"; [ -n "$p" ]; }
lock() {
  held=$1; tries=0; boot=; read -r boot </proc/sys/kernel/random/boot_id
  set -C
  until echo "$$ $boot" >"$held"; do
    tries=$((tries + 1))
    owner || { sleep 1; owner; }
    if [ "$b" = "$boot" ] && kill -0 "$p"; then
      [ $tries -le 5 ] || die Busy "process $p is still at work there"
      sleep 1
    else
      [ $tries -le 5 ] || die NotWritable "$held"
      rm -f "$held"
    fi
  done
  set +C
  trap 'rm -f "$held"' EXIT
} 2>/dev/null
"""
"""Take a lock, which a script left running by a broken connection holds, too. The shell itself makes the file."""

_POINT = f"""\
point() {{
  [ ! -L .{ACTIVE}.new ] || rm -f .{ACTIVE}.new
  if [ -n "$1" ]; then
    ln -s "{SLOTS}/$1" .{ACTIVE}.new && mv -T .{ACTIVE}.new {ACTIVE} && [ {ACTIVE} -ef "{SLOTS}/$1" ] || return 1
  else
    rm -f {ACTIVE}
    [ ! -L {ACTIVE} ] || return 1
  fi
  sync . 2>/dev/null || sync
}}
"""
"""Make a slot active atomically, or none, and check that it is."""


class ScriptError(ValueError):
    """No script can be made: a name is not a file name, or there are too many."""


def command(script: str) -> str:
    """Wrap a script so that any login shell runs it.

    Raises:
        ScriptError: It is too long for a command.
    """
    if len(script.encode()) > LONGEST:
        raise ScriptError(f"a package of so many files cannot be uploaded: its script has {len(script):,} characters")
    return f"exec sh -c {shlex.quote(script)}"


def file_name(name: str) -> str:
    """Check that a name is a plain file name.

    Raises:
        ScriptError: It is not.
    """
    if name in {"", ".", ".."} or "/" in name or any(ord(letter) < 32 for letter in name):
        raise ScriptError(f"{name!r} cannot be the name of a file")
    return name


# ── inspection ───────────────────────────────────────────────────────────────────────────────────────────────────


def inspect(root: str, installer: Sequence[str], *, proves: bool, make: bool) -> str:
    """Print the state of a device.

    Args:
        root: Folder of the models.
        installer: The command's words.
        proves: Run the installer, too.
        make: Make the folders, because an upload follows.
    """
    made = 'mkdir -p -- "$root/blobs" "$root/incoming" 2>/dev/null\n' if make else ""
    absent = "" if make else ' || [ ! -e "$root" ]'
    folders = (
        '[ -w "$store/incoming" ] || mkdir -p -- "$store/blobs" "$store/incoming" || die NotWritable "$store"\n'
        if make
        else ""
    )
    asked = f"say asked\n{_words(installer)} installed --dir {_q(root)}\nsay installed $?\n" if proves else ""
    return (
        f"{_PRELUDE}root={_q(root)}\n{made}"
        f'store=$root\n[ -w "$root" ]{absent} || {{ store=$HOME/.edgewright; say foreign; }}\n'
        """\
say store "$store"
[ -e "$root/agent.toml" ] && say agent
command -v tar >/dev/null 2>&1 && say tar
"""
        f"{folders}"
        f"""\
cd -- "$root" 2>/dev/null && for d in {MODELS}/*/; do
  d=${{d%/}}
  for s in {" ".join(Slot)}; do
    t=
    [ -f "$d/{SLOTS}/$s/{MARKER_FILE}" ] && IFS= read -r t <"$d/{SLOTS}/$s/{MARKER_FILE}"
    [ -n "$t" ] || continue
    a=-
    [ "$d/{ACTIVE}" -ef "$d/{SLOTS}/$s" ] && a=active
    say slot "$s" "$a" "${{d#{MODELS}/}}" "$t"
  done
done
t=
[ -f "$store/evidence.json" ] && IFS= read -r t <"$store/evidence.json"
[ -n "$t" ] && printf '\\n%s\\n' "$t"
say files
ls -ln -- "$store/blobs" "$store/incoming" {MODELS}/*/{SLOTS}/* 2>/dev/null
"""
        f"{asked}say end\n"
    )


def probe(root: str, installer: Sequence[str]) -> str:
    """Run the golden samples of the active models again."""
    return f"{_PRELUDE}say asked\n{_words(installer)} installed --probe --dir {_q(root)}\nsay installed $?\nsay end\n"


# ── upload ──────────────────────────────────────────────────────────────────────────────────────────────────


def receive_file(store: str, name: str) -> str:
    """Receive one file from the input, where there is no tar."""
    return f"{_enter(store)}cat >{_q(file_name(name))} || cut NotReceived cat\n"


def receive(
    store: str, received: Iterable[tuple[str, Sequence[str]]], kept: Iterable[str], stage: str, *, unpack: bool
) -> str:
    """Verify the files of a payload on the device, keep the uploaded ones as blobs, and stage them.

    Args:
        store: Folder of the blobs.
        received: sha256 in hex, and the names of the parts.
        kept: sha256 in hex of blobs that were there before.
        stage: From ``stage_payload`` or ``fill_slot``.
        unpack: The parts come as a tar stream in the input; an interrupted one leaves the beginning of a file.
    """
    # As root, tar would give files to whoever they belonged to.
    begin = "tar -xof - || cut NotReceived tar\n" if unpack else ""
    wholes, joined = [], ""
    for digest, pieces in received:
        if list(pieces) != [digest]:
            parts = " ".join(map(_q, pieces))
            joined += f"cat {parts} >whole && rm -f {parts} && mv whole {digest} || cut NotStored cat\n"
        wholes.append(digest)
    sums = [f"{digest}  {digest}" for digest in wholes] + [f"{digest}  ../blobs/{digest}" for digest in kept]
    lines = "\n".join(sums)
    stored = f"mv {' '.join(wholes)} ../blobs/ || cut NotStored mv\n"
    return (
        f"{_enter(store)}{begin}{_lock(store)}{joined}"
        f"out=$(sha256sum -c - 2>/dev/null <<'SUMS'\n{lines}\nSUMS\n); r=$?\n"
        """\
[ $r = 127 ] && die NoTool sha256sum
[ $r = 0 ] || {
  printf '%s\\n' "$out" | while IFS= read -r l; do
    case $l in *': OK') continue;; esac
    f=${l%: *}
    rm -f "$f"
    say damaged "${f##*/}"
  done
  die DigestMismatch
}
"""
        f"{stored if wholes else ''}{stage}say staged\n"
    )


def stage_payload(order: int, files: Iterable[tuple[str, str]]) -> str:
    """Stage a payload for the installer; files are names and sha256 in hex.

    Each order has a folder of its own: a script that a broken connection left running may outlive its order.
    """
    folder = _payload_folder(order)
    links = _links(files, "../blobs", folder)
    # The installer links what it finds whole; that has to be on the disk by then.
    synced = f"sync {folder}/* {folder} ../blobs 2>/dev/null || sync\n"
    return f"rm -rf {folder} ../evidence.json; mkdir {folder} || cut NotStored {folder}\n{links}{synced}"


def fill_slot(root: str, store: str, model: str, name: str, files: Iterable[tuple[str, str]], marker: str) -> str:
    """Fill a slot that is not active, as the agent does: its marker is removed first, written last.

    Everything is synced to disk before anything may switch to it.
    """
    home, blobs, own = _home(root, model), f"{store}/blobs", slot_path(name)
    here = _q(f"{home}/{own}")
    return (
        f"[ {_q(f'{home}/{ACTIVE}')} -ef {here} ] && die Moved 'slot {name} is active'\n"
        f"[ ! -e {here} ] || rm -rf {_q(f'{home}/{own}/{MARKER_FILE}')} {here}\n"
        f"mkdir -p -- {here} && cd -- {_q(home)} || cut NotStored {_q(home)}\n"
        f"{_links(files, blobs, own)}"
        f"printf '%s' {_q(marker)} >{own}/{MARKER_FILE} || cut NotStored {MARKER_FILE}\n"
        f"sync {own}/* {own} {SLOTS} . {_q(blobs)} 2>/dev/null || sync\n"
    )


def clear_incoming(store: str) -> str:
    """Remove uploaded files that are not needed."""
    return f"{_PRELUDE}cd -- {_q(store)} && rm -rf incoming\n"


# ── switching ─────────────────────────────────────────────────────────────────────────────────────────────────


def switch(
    root: str, model: str, name: str, before: str, marker: str, restart: Restart | None, unneeded: Iterable[str]
) -> str:
    """Make a staged slot active, and notify the application; on failure, restore the previous slot.

    Args:
        root: Folder of the models.
        model: The model's name.
        name: The slot.
        before: The slot that was active; empty: none.
        marker: The slot's content.
        restart: How the application is notified.
        unneeded: sha256 in hex of blobs to remove afterwards.
    """
    told = ""
    if restart is not None:
        back = f'point {_q(before)} || first="$first; and it could not be switched back"; tell'
        told = f'{_notify(restart)}[ -z "$why" ] || {{ {back}; die RestartFailed "$first"; }}\n'
    return (
        f"{_begin(root, model)}"
        f"t=; IFS= read -r t <{slot_path(name)}/{MARKER_FILE}\n[ \"$t\" = {_q(marker)} ] || die Moved 'slot {name}'\n"
        f"point {name} || {{ point {_q(before)}; die NotSwitched 'ln or mv -T'; }}\n"
        f"{told}say switched\n{_clean(root, unneeded)}"
    )


def switch_back(root: str, model: str, before: str, restart: Restart) -> str:
    """Restore the previous slot, and notify the application."""
    return f"{_begin(root, model)}point {_q(before)} || die NotSwitched 'ln or mv -T'\n{_notify(restart)}say switched\n"


def notify_application(restart: Restart) -> str:
    """Notify the application of the active model."""
    return f'{_PRELUDE}{_notify(restart)}[ -z "$why" ] || die RestartFailed "$first"\nsay told\n'


def remove(root: str, model: str) -> str:
    """Remove a model from the device, pointer first."""
    home = _home(root, model)
    return (
        f"[ -e {_q(home)} ] || {{ echo; echo {MARK} removed; exit 0; }}\n{_begin(root, model)}"
        f"point '' || die NotSwitched rm\nrm -rf -- {_q(home)}\n[ ! -e {_q(home)} ] || die NotRemoved rm\nsay removed\n"
    )


# ── the installer ─────────────────────────────────────────────────────────────────────────────────────────────


def install(root: str, store: str, installer: Sequence[str], order: int, nonce: str, unneeded: Iterable[str]) -> str:
    """Run the installer on the payload of an order, and print the active models afterwards."""
    staged = _q(f"{store}/incoming/{_payload_folder(order)}")
    return f"{_order(root, store, installer, f'install --from {staged}', nonce)}{_clean(store, unneeded)}"


def uninstall(root: str, store: str, installer: Sequence[str], model: str, nonce: str) -> str:
    """Run the installer to remove a model."""
    return _order(root, store, installer, f"uninstall {_q(file_name(model))}", nonce)


def undo(
    root: str, store: str, installer: Sequence[str], model: str, nonce: str, before: bool, restart: Restart
) -> str:
    """Run the installer to restore the previous model, or to remove it where there was none; notify the application."""
    order = f"{'rollback' if before else 'uninstall'} {_q(file_name(model))}"
    return f"{_order(root, store, installer, order, nonce)}{_notify(restart)}"


def _order(root: str, store: str, installer: Sequence[str], order: str, nonce: str) -> str:
    return (
        f"{_PRELUDE}mkdir -p -- {_q(store)}\nsay ordered\n"
        f"{_words(installer)} {order} --dir {_q(root)} --nonce {_q(nonce)} --evidence {_q(f'{store}/evidence.json')}\n"
        f"say status $?\nroot={_q(root)}\n"
        f"""\
open() {{ [ -x "$1" ] || [ ! -e "$1" ]; }}
cd -- "$root" 2>/dev/null && for d in {MODELS}/*/; do
  d=${{d%/}}; t=
  [ -f "$d/{ACTIVE}/{MARKER_FILE}" ] && IFS= read -r t <"$d/{ACTIVE}/{MARKER_FILE}"
  [ -n "$t" ] && say slot - active "${{d#{MODELS}/}}" "$t"
done
open "$root" && open "$root/{MODELS}" && say looked
"""
    )


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _payload_folder(order: int) -> str:
    return f"payload-{order}"


def _home(root: str, model: str) -> str:
    return f"{root}/{MODELS}/{file_name(model)}"


def _enter(store: str) -> str:
    return f"{_PRELUDE}cd -- {_q(f'{store}/incoming')} || cut NotStored incoming\n"


def _lock(store: str) -> str:
    return f"{_LOCK}lock {_q(f'{store}/.lock')}\n"


def _begin(root: str, model: str) -> str:
    """Begin to change the active slot; a connection that breaks from here on leaves no change half done."""
    home = _q(_home(root, model))
    return f"trap '' HUP PIPE\n{_PRELUDE}cd -- {home} || die Moved models\n{_lock(root)}{_POINT}"


def _clean(store: str, unneeded: Iterable[str]) -> str:
    gone = " ".join(f"blobs/{digest}" for digest in unneeded)
    return f"cd -- {_q(store)} && rm -rf incoming {gone} ${{held:+.lock}} && trap - EXIT\n"


def _links(files: Iterable[tuple[str, str]], blobs: str, folder: str) -> str:
    lines = []
    for name, digest in files:
        source, target = _q(f"{blobs}/{digest}"), _q(f"{folder}/{file_name(name)}")
        lines.append(f"ln {source} {target} 2>/dev/null || cp {source} {target} || cut NotStored {_q(folder)}\n")
    return "".join(lines)


def _notify(restart: Restart) -> str:
    """Define the shell function ``tell``, and call it: ``why`` is empty on success, ``first`` the first failure."""
    if restart.unit is not None:
        unit, name = _q(restart.unit), restart.unit
        lines = (
            f"systemctl restart -- {unit} >/dev/null 2>&1 </dev/null || why='systemctl could not restart it'\n"
            f'[ -n "$why" ] || {{ {_active(unit)} && sleep {_SETTLE} && {_active(unit)}; }} '
            "|| why='it is not active after the restart'"
        )
    else:
        name = restart.pid_file or ""
        lines = (
            f"p=; read -r p <{_q(name)}\n"
            "case $p in ''|*[!0-9]*|0*|1) why='there is no process id in the file';; *)\n"
            f'  kill -s {restart.signal} "$p" && sleep {_SETTLE} && kill -0 "$p" || why="process $p is gone";; esac'
        )
    return f'tell() {{\nwhy=\n{lines}\n}} 2>/dev/null\ntell\nfirst={_q(name)}": $why"\n'


def _active(unit: str) -> str:
    return f"systemctl is-active --quiet -- {unit} >/dev/null 2>&1 </dev/null"


def _words(words: Sequence[str]) -> str:
    return shlex.join(words)


def _q(text: str) -> str:
    return shlex.quote(text)

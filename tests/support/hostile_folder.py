"""Folders that lead out of themselves: links, other names of files elsewhere, FIFOs, devices."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

SECRET = b"secret " * 40
"""What the files outside hold."""

Tree = dict[str, tuple[object, ...]]
"""What is at each path: its kind, and content or target."""


def tree(folder: Path) -> Tree:
    """Return what is in a folder, links not followed; times and contents included."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if stat.S_ISLNK(kind):
            content = os.readlink(path)
        elif stat.S_ISREG(kind):
            content = path.read_bytes(), status.st_mtime_ns
        found[path.relative_to(folder).as_posix()] = (kind, stat.S_IMODE(status.st_mode), content)
    return found


PLACES = [
    "", "manifest.json", "manifest.json.new", "writer.json", "writer.lock", "segments", "deleted",
    "replacement", "replacement/segments", "replacement/manifest.json", "segments/NAME",
    "segments/000007-0123abcd", "segments/000007-0123abcd/codes.u8", "segments/other",
    "segments/NAME/codes.u8", "segments/NAME/scales.f16", "segments/NAME/lengths.i32",
    "segments/NAME/codec.json", "segments/NAME/documents.sqlite", "segments/NAME/lists.bin",
    "segments/NAME/documents.sqlite-journal", "segments/NAME/centroid_scales.f32",
    "deleted/BITS", "deleted/000007-0123abcd-000008.bits", "replacement/segments/000001-0123abcd",
]  # fmt: skip
KINDS = [
    "link to its like", "link to a file", "link to a folder", "relative link", "dangling link",
    "link to itself", "hard link", "fifo", "folder", "file", "device",
]  # fmt: skip


def put(folder: Path, outside: Path, place: str, kind: str) -> None:
    """Put something where the index has, or could have, a file or folder."""
    names = sorted(path.name for path in (folder / "segments").glob("*"))
    bits = sorted(path.name for path in (folder / "deleted").glob("*"))
    place = place.replace("NAME", (names or ["none"])[0]).replace("BITS", (bits or ["none"])[0])
    path = folder / place
    if place == "" or not os.path.lexists(path.parent) or path.parent.is_symlink():
        return
    if not path.parent.is_dir():
        return
    if path.is_symlink() or path.is_file() or path.is_fifo():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    like = outside / "index" / place
    match kind:
        case "link to its like":
            path.symlink_to(like if like.exists() else outside / "victim")
        case "link to a file":
            path.symlink_to(outside / "victim")
        case "link to a folder":
            path.symlink_to(outside / "segments")
        case "relative link":
            path.symlink_to(os.path.relpath(outside / "segments", path.parent))
        case "dangling link":
            path.symlink_to(outside / "not there")
        case "link to itself":
            path.symlink_to(path.name)
        case "hard link":
            os.link(like if like.is_file() else outside / "victim", path)
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
            (path / "mine").write_bytes(SECRET)
        case "file":
            path.write_bytes(SECRET)
        case "device":
            path.symlink_to("/dev/zero")

"""The files in a folder, without those that nobody wants to search."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocket_colbert.checks import are_strings, require
from pocket_colbert.errors import CorpusError
from pocket_colbert.index.directory import is_index
from pocket_colbert.ingest.left_out import LeftOut, printable_path

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_NEVER = {"node_modules", "__pycache__", "bower_components", "site-packages", "htmlcov"}
"""Folders that hold what programs install or write."""
_OUTPUTS = {"build", "dist", "target", "out"}
"""Folders of build outputs, where a project is built beside them."""
_PROJECTS = {
    "package.json", "pyproject.toml", "setup.py", "Cargo.toml", "pom.xml", "build.gradle",
    "build.gradle.kts", "CMakeLists.txt", "Makefile", "meson.build",
}  # fmt: skip
_IGNORE_FILES = (".gitignore", ".ignore")
_UNMENTIONED = {".git", ".hg", ".svn", ".DS_Store", ".gitignore", ".ignore", ".gitattributes"}
"""Hidden names that nobody misses."""
_IGNORE_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class FileRules:
    """Which files of a folder are read.

    Patterns are those of .gitignore: `*.md`, `drafts/`, `docs/**/*.html`.

    Attributes:
        include: If there are any, only files that match one of these.
        exclude: Files and folders that match one of these are left out.
        ignored: Whether to read what .gitignore and .ignore leave out, and installed packages and
            build outputs.
        hidden: Whether to read files and folders whose names begin with a dot.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignored: bool = False
    hidden: bool = False

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            value = getattr(self, name)
            require(are_strings(value), f"{name} must be a tuple of patterns, got {value!r}.")


Note = Callable[[LeftOut], None]


def files_below(folder: Path) -> Iterator[Path]:
    """Iterate over the files in a folder and its subfolders, leaving out hidden ones.

    Links are followed; linked folders come last. Each folder is read once, so links may form
    circles.

    Raises:
        CorpusError: A folder cannot be read, or a link is broken.
    """

    def fail(item: LeftOut) -> None:
        if item.reason == "unreadable":
            raise CorpusError(f"{item}.")

    return walk(folder, FileRules(ignored=True), fail)


def walk(folder: Path, rules: FileRules, note: Note) -> Iterator[Path]:
    """Iterate over the files in a folder that the rules allow, in the order of their names.

    Links are followed; linked folders come last. Each folder is read once, so links may form
    circles.

    Args:
        folder: The folder.
        rules: Which files to read.
        note: Called with each file or folder that is left out.
    """
    return _Walk(folder, rules, note).run()


class _Walk:
    def __init__(self, folder: Path, rules: FileRules, note: Note) -> None:
        self._root = folder
        self._rules = rules
        self._note = note
        self._visited: set[tuple[int, int]] = set()
        self._linked: deque[Path] = deque([folder])
        self._include = _patterns(rules.include)
        self._exclude = _patterns(rules.exclude)

    def run(self) -> Iterator[Path]:
        while self._linked:
            folder = self._linked.popleft()
            above = [] if self._rules.ignored else _ignored_above(folder)
            stack = [(self._entries(folder), self._specs(folder, above))]
            while stack:
                entries, specs = stack[-1]
                entry = next(entries, None)
                if entry is None:
                    stack.pop()
                    continue
                path = Path(entry.path)
                kind = self._kind(entry, path)
                if kind == "" or self._left_out(entry.name, path, kind != "file", specs):
                    continue
                if kind == "file":
                    yield path
                elif kind == "link":
                    self._linked.append(path)
                else:
                    stack.append((self._entries(path), self._specs(path, specs)))

    def _entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        try:
            state = os.stat(folder)
            identity = state.st_dev, state.st_ino
            if identity in self._visited:
                return iter(())
            self._visited.add(identity)
            with os.scandir(folder) as found:
                return iter(sorted(found, key=lambda entry: entry.name))
        except OSError as error:
            self._fail(folder, f"cannot be read ({error.strerror})", "check its permissions")
            return iter(())

    def _kind(self, entry: os.DirEntry[str], path: Path) -> str:
        """Return "file", "folder", "link" to a folder, or "" for what is neither."""
        try:
            if entry.is_symlink() and not os.path.exists(path):
                if self._rules.hidden or not entry.name.startswith("."):
                    self._fail(path, "is a link that leads nowhere", "repair or remove it")
                return ""
            if entry.is_dir(follow_symlinks=False):
                return "folder"
            if entry.is_dir():
                return "link"
            return "file" if entry.is_file() else ""
        except OSError as error:
            self._fail(path, f"cannot be read ({error.strerror})", "check it")
            return ""

    def _left_out(self, name: str, path: Path, is_folder: bool, specs: list[_Spec]) -> bool:
        """Return whether a file or folder is left out, after noting it."""
        if name.startswith(".") and not self._rules.hidden:
            if name not in _UNMENTIONED:
                self._leave(path, "hidden", "it is hidden", "--hidden reads it")
            return True
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            self._fail(path, "has a name that is not UTF-8", "rename it")
            return True
        relative = path.relative_to(self._root).as_posix() + "/" * is_folder
        if self._exclude is not None and self._exclude.match_file(relative):
            self._leave(path, "excluded", "--exclude matches it", "")
            return True
        if not is_folder and self._include is not None and not self._include.match_file(relative):
            self._leave(path, "excluded", "no --include matches it", "")
            return True
        if is_folder and is_index(path):
            return True
        if self._rules.ignored:
            return False
        if is_folder and (name in _NEVER or _is_output(name, path)):
            self._leave(path, "ignored", "it holds what programs write", "--no-ignore reads it")
            return True
        if _is_ignored(path, is_folder, specs):
            self._leave(path, "ignored", "an ignore file names it", "--no-ignore reads it")
            return True
        return False

    def _leave(self, path: Path, reason: str, detail: str, advice: str) -> None:
        self._note(LeftOut(printable_path(path), reason, detail, advice))  # type: ignore[arg-type]

    def _fail(self, path: Path, detail: str, advice: str) -> None:
        self._leave(path, "unreadable", detail, advice)

    def _specs(self, folder: Path, above: list[_Spec]) -> list[_Spec]:
        return above if self._rules.ignored else above + _ignored_in(folder)


_Spec = tuple[str, "GitIgnoreSpec"]
"""A folder, and the patterns of its ignore file."""


def _patterns(lines: Sequence[str]) -> GitIgnoreSpec | None:
    if not lines:
        return None
    import pathspec

    try:
        return pathspec.GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise CorpusError(f"{lines!r} are not patterns as in .gitignore: {error}.") from error


def _ignored_in(folder: Path) -> list[_Spec]:
    found: list[_Spec] = []
    for name in _IGNORE_FILES:
        path = folder / name
        try:
            if not path.is_file() or path.stat().st_size > _IGNORE_BYTES:
                continue
            lines = path.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            continue
        spec = _lenient(lines)
        if spec is not None:
            found.append((str(folder), spec))
    return found


def _lenient(lines: list[str]) -> GitIgnoreSpec | None:
    """Read patterns; git skips those that it does not understand."""
    import pathspec

    good = []
    for line in lines:
        try:
            pathspec.GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error):
            continue
        good.append(line)
    return pathspec.GitIgnoreSpec.from_lines(good) if good else None


def _ignored_above(folder: Path) -> list[_Spec]:
    """Return what the folders above ignore, up to the root of the repository."""
    found: list[_Spec] = []
    parents = [folder.resolve(), *folder.resolve().parents]
    root = next((n for n, parent in enumerate(parents) if (parent / ".git").exists()), None)
    if root is None:
        return []
    for parent in reversed(parents[1 : root + 1]):
        found += _ignored_in(parent)
    return found


def _is_ignored(path: Path, is_folder: bool, specs: list[_Spec]) -> bool:
    if not specs:
        return False
    real = None
    for folder, spec in reversed(specs):
        text = os.path.relpath(path, folder) if not os.path.isabs(folder) else ""
        if not text:
            real = real or os.path.join(os.path.realpath(path.parent), path.name)
            base = os.path.realpath(folder)
            if not real.startswith(base + os.sep):
                continue
            text = real[len(base) + 1 :]
        include = spec.check_file(text.replace(os.sep, "/") + "/" * is_folder).include
        if include is not None:
            return bool(include)
    return False


def _is_output(name: str, path: Path) -> bool:
    if name in _OUTPUTS:
        return any((path.parent / project).exists() for project in _PROJECTS)
    return name.endswith(".egg-info") or (path / "pyvenv.cfg").exists()

"""What `search` prints: blocks on a terminal, lines in a pipe, JSON lines, exit statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Index
from pocket_colbert.cli.hit_lines import _lines_around
from pocket_colbert.cli.progress import progress_text
from pocket_colbert.cli.terminal import Screen, cells, marked, squeezed, wrapped
from tests.support.cli import json_lines, run

COMMAND = "from pocket_colbert.cli.entry import main; main()"
HIVE = """# The hive

In May the old queen leaves with half of the colony. Look along the lower edge of the brood frames
for queen cells.

## Honey tax

Honey is taxed at seven percent, and mead is taxed
    like wine.
The end.
"""


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("output")
    folder = base / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "hive.md").write_text(HIVE, encoding="utf-8")
    (folder / "deep" / "蜂蜜.txt").write_text("蜂蜜的税率是百分之七。" * 12, encoding="utf-8")
    (folder / "tax.py").write_text("def tax(honey):\n\tif honey:\n\t\treturn 0.07\n", "utf-8")
    assert run("index", folder, "--into", base / "notes.index").exit_code == 0
    return folder


def index_of(notes: Path) -> Path:
    return notes.with_name("notes.index")


@pytest.mark.parametrize("width", [8, 10, 20, 33, 80])
@pytest.mark.parametrize(
    "text",
    ["plain words of one line", "蜂蜜的税率是百分之七。蜜蜂在五月离开蜂巢。", "x" * 100,
     "wide 蜂蜜 and narrow 蜂蜜mixed", "    indented code = value", "a", "👩‍🚀 flies 🚀" * 5,
     "e\u0301" * 40, " "],
)  # fmt: skip
def test_lines_fit(text: str, width: int) -> None:
    parts = [text[slice(*part)] for part in wrapped(text, width)]
    assert all(cells(part) <= width for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())
    room = width - (len(text) - len(text.lstrip()))
    words = [word for word in text.split() if cells(word) <= room and word.isascii()]
    for word in words:  # no word is broken that need not be
        assert any(word in part for part in parts), word


def test_marks_keep_their_places() -> None:
    text = "  one\n\n two\tthree\x1b[2J four "
    line, marks = squeezed(text, (0, len(text)), [(8, 11), (12, 17), (2, 5), (3, 4)])
    assert line == "one two three[2J four"
    assert [line[slice(*mark)] for mark in marks] == ["one", "two", "three"]
    whole, _ = squeezed("a\n  b", (0, 5), [], keep_spaces=True)
    assert whole == "a   b"
    screen = Screen(color=True, width=80, blocks=True)
    shown = marked(screen, line, marks, (4, 10))
    assert shown == "\x1b[33m\x1b[1mtwo\x1b[0m \x1b[33m\x1b[1mth\x1b[0m"
    assert marked(Screen(color=False, width=80, blocks=True), line, marks) == line


def test_bars_are_equally_wide() -> None:
    for blocks in (True, False):
        screen = Screen(color=False, width=80, blocks=blocks)
        bars = [screen.bar(share / 100) for share in range(101)]
        assert {len(bar) for bar in bars} == {5}
        assert bars[0].strip(" .") == "" and bars[100] in ("█████", "#####")
        assert len(set(bars)) > 5


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((3, None, None, None), "3"),
        ((3, 10, None, None), "3 of 10"),
        ((3, 10, 2.5, 62.4), "3 of 10, 2.5/s, 1:02 left"),
        ((3, 10**6, 123.4, 7322.0), "3 of 1000000, 123/s, 2:02:02 left"),
        ((10, 10, 20.0, 0.0), "10 of 10, 20/s"),
    ],
)
def test_progress_is_a_count_a_rate_and_a_time(
    arguments: tuple[int, int | None, float | None, float | None], text: str
) -> None:
    assert progress_text(*arguments) == text


@pytest.mark.parametrize(
    ("span", "context", "shown"),
    [
        ((2, 3), 0, ["2:b"]), ((2, 3), 1, ["1-a", "2:b", "3-c"]), ((0, 1), 9, "1:a 2-b 3-c"),
        ((2, 5), 0, ["2:b", "3:c"]), ((1, 3), 0, ["2:b"]), ((2, 4), 0, ["2:b"]), ((4, 6), 0, "3:c"),
    ],
)  # fmt: skip
def test_context_is_whole_lines(
    span: tuple[int, int], context: int, shown: list[str] | str
) -> None:
    text = "a\nb\nc\n"
    found = [
        f"{text[:start].count(chr(10)) + 1}{':' if on else '-'}{text[start:end]}"
        for (start, end), on in _lines_around(text, span, context)
    ]
    assert found == (shown.split() if isinstance(shown, str) else shown)


def test_a_line_a_hit_in_a_pipe(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notes.parent)
    done = run("search", "notes.index", "how is honey taxed?", "-k", 3)
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and "\x1b" not in done.output
    path, number, rest = lines[0].split(":", maxsplit=2)
    assert path == os.path.join("notes", "hive.md")
    assert Path(path).read_text("utf-8").splitlines()[int(number) - 1].startswith("Honey is taxed")
    assert re.fullmatch(r" \d+% The hive > Honey tax: \.\.\.Honey is taxed .*", rest), rest
    monkeypatch.chdir(notes / "deep")
    first = run("search", "../../notes.index", "how is honey taxed?", "-k", 1).stdout
    assert first.startswith(f"{notes / 'hive.md'}:")


def test_paths_alone(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notes.parent)
    done = run("search", "notes.index", "honey", "-l")
    assert sorted(done.stdout.splitlines()) == sorted(
        os.path.join("notes", *name) for name in (["hive.md"], ["tax.py"], ["deep", "蜂蜜.txt"])
    )


def test_json_lines_name_the_place(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notes.parent)
    hits = json_lines(run("search", "notes.index", "how is honey taxed?", "--json").stdout)
    assert len(hits) == 3 and hits[0]["path"] == os.path.join("notes", "hive.md")
    assert HIVE.splitlines()[hits[0]["line"] - 1].startswith("Honey is taxed")


def test_context_in_a_pipe(notes: Path) -> None:
    done = run("search", index_of(notes), "how is honey taxed?", "-k", 1, "-C", 1)
    lines = done.stdout.splitlines()
    numbered = [line for line in lines[1:] if re.match(r"\s+\d+[:-]", line)]
    assert numbered == lines[1:] and len(numbered) >= 3
    assert any(re.match(r"\s+8: Honey is taxed", line) for line in numbered)


def test_exit_statuses_are_those_of_grep(notes: Path) -> None:
    found = run("search", index_of(notes), "honey", "-q")
    assert (found.exit_code, found.output) == (0, "")
    for options in ([], ["--json"], ["-l"], ["-C", 2]):
        none = run("search", index_of(notes), "honey", "--where", "year=1", *options)
        assert (none.exit_code, none.stdout, none.stderr) == (1, "", "No hits.\n")
    quiet = run("search", index_of(notes), "honey", "--where", "year=1", "-q")
    assert (quiet.exit_code, quiet.output) == (1, "")
    assert run("search", notes / "no", "honey").exit_code == 2
    assert run("search", index_of(notes)).exit_code == 2


def test_colour_is_for_those_who_want_it(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["search", index_of(notes), "how is honey taxed?", "-k", 1]
    assert "\x1b[" not in run(*arguments).stdout
    colored = run(*arguments, "--color", "always").stdout
    plain = re.sub(r"\x1b\[[\d;]*m", "", colored)
    assert colored != plain == run(*arguments).stdout
    assert "\x1b[33m\x1b[1mHoney\x1b[0m" in colored


posix = pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")


def in_terminal(
    arguments: list[str], columns: int, *, cwd: Path, **environment: str
) -> tuple[int, str]:
    """Run the command in a terminal; return its exit status and what the terminal got."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    base = {name: value for name, value in os.environ.items() if name not in (
        "NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE",
    )}  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
        cwd=cwd, start_new_session=True,
        env=base | {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)}
        | environment,
    )  # fmt: skip
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    return process.wait(timeout=60), b"".join(parts).decode("utf-8").replace("\r\n", "\n")


@posix
@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 40, 100])
def test_blocks_fit_the_terminal(notes: Path, columns: int) -> None:
    code, shown = in_terminal(
        ["search", "notes.index", "how is honey taxed?"], columns, cwd=notes.parent
    )
    assert code == 0 and "\x1b[33m\x1b[1m" in shown
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert lines[0].startswith("notes/hive.md:8") and "" in lines
    for line in lines:
        is_place = re.match(r"\S+:\d+$", line)
        assert is_place or cells(line) <= columns, line
    assert "".join(lines).count("%") == 3 and "█" in shown
    assert "".join("Honey is taxed at seven percent".split()) in "".join(
        "".join(line.split()) for line in lines
    )


@posix
@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_may_be_plain(notes: Path, environment: dict[str, str]) -> None:
    arguments = ["search", "notes.index", "how is honey taxed?", "-k", "1"]
    code, shown = in_terminal(arguments, 80, cwd=notes.parent, **environment)
    assert code == 0 and "\x1b" not in shown and shown.startswith("notes/hive.md:8  ")


@posix
@pytest.mark.slow
def test_a_first_search_shows_its_progress(notes: Path, tmp_path: Path) -> None:
    code, shown = in_terminal(
        ["search", "notes", "how is honey taxed?"], 80, cwd=notes.parent,
        POCKET_COLBERT_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown)
    assert code == 0 and "notes has no index; one is made in the cache" in plain
    assert "Indexed notes: 3 added." in plain and "notes/hive.md:8" in plain


@posix
@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error(notes: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "{COMMAND}" "$@" | head -n 1; exit 0', sys.executable,
         "search", str(index_of(notes)), "honey", "--explain"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-c", COMMAND, "search", str(index_of(notes)), "honey"], stdout=write,
        stderr=subprocess.PIPE, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    os.close(write)
    assert (process.returncode, process.stderr) == (0, "")


def test_hits_of_several_indexes_have_paths(notes: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Mead is not taxed in Utopia.", encoding="utf-8")
    assert run("index", other, "--into", tmp_path / "other.index").exit_code == 0
    done = run(
        "search", index_of(notes), "is mead taxed?", "--also", tmp_path / "other.index", "-l"
    )
    found = {os.path.abspath(line) for line in done.stdout.splitlines()}
    assert found >= {str(other), str(notes / "hive.md")}


def test_a_file_that_is_gone_is_named_as_the_index_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("Bees swarm.", encoding="utf-8")
    assert run("index", folder, "--into", tmp_path / "index").exit_code == 0
    (folder / "a.txt").unlink()
    assert run("search", tmp_path / "index", "bees").stdout.startswith("a.txt:1: ")


def test_cached_searches_say_what_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKET_COLBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    path = tmp_path / "notes" / "a.txt"
    path.write_text("Bees swarm.", encoding="utf-8")
    os.utime(path, (1, 1))
    first = run("search", "notes", "bees")
    assert first.stdout.startswith(f"{os.path.join('notes', 'a.txt')}:1: ")
    assert "notes has no index; one is made in the cache" in first.stderr
    assert run("search", "notes", "bees").stderr == ""
    path.write_text("Bees fly.", encoding="utf-8")
    os.utime(path, (2, 2))
    assert run("search", "notes", "bees").stderr == "Indexed notes: 1 changed.\n"
    assert run("search", "notes/a.txt", "bees", "-q").output == ""
    listed = json.loads(run("cache", "--json").stdout)
    assert {item["path"] for item in listed["indexes"]} == {str(tmp_path / "notes"), str(path)}
    assert "2 indexes" in run("cache").stdout and "1 index," in run("cache", "notes").stdout
    assert "1 index deleted" in run("cache", "--clear", "notes").stdout
    assert json.loads(run("cache", "--clear", "--json").stdout)["cleared"][0]["path"] == str(path)
    assert "0 indexes" in run("cache").stdout


def test_an_interrupted_first_search_says_that_the_next_continues(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Index, *rest: Any, **more: Any) -> None:
        add(self, *rest, **more)
        raise KeyboardInterrupt

    monkeypatch.setenv("POCKET_COLBERT_CACHE", str(tmp_path / "cache"))
    add = Index.add_prepared
    with monkeypatch.context() as patch:
        patch.setattr(Index, "add_prepared", interrupted)
        done = run("search", notes, "honey")
    assert (done.exit_code, done.stdout) == (130, "")
    assert "Interrupted; the same search continues" in done.stderr
    done = run("search", notes, "honey")
    assert done.exit_code == 0 and done.stderr == ""  # all was encoded, and no more is said


def test_only_indexes_are_joined(tmp_path: Path, notes: Path) -> None:
    done = run("search", notes, "bees", "--also", index_of(notes))
    assert done.exit_code == 2 and "--also joins indexes" in done.stderr

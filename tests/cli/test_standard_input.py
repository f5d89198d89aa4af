"""`-` for standard input, in search, rerank, encode and index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli import fails, json_lines, run

LINES = "\nThe landlord repairs the roof.\r\n  \nBees swarm in May.\n"
ROWS = '{"_id": "roof", "text": "The landlord repairs the roof.", "year": 1}\n\n' + (
    '{"_id": "bees", "text": "Bees swarm in May.", "year": 2}\n'
)


def test_search_reads_documents() -> None:
    done = run("search", "-", "who mends the roof?", "-k", 1, stdin=LINES)
    assert done.stdout.startswith("-:2: ") and done.stdout.count("\n") == 1
    (hit,) = json_lines(
        run("search", "-", "roof", "--where", "year=2", "--json", stdin=ROWS).stdout
    )
    assert hit["document_id"] == "bees" and hit["path"] is None


def test_search_reads_the_question(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROWS)
    assert run("index", tmp_path / "rows.jsonl", "--into", tmp_path / "index").exit_code == 0
    done = run("search", tmp_path / "index", "-", "-k", 1, stdin="why do bees swarm?\n")
    assert done.stdout.startswith("bees: ")
    fails("search", "-", "-", message="only one of PATH and QUERY", stdin="x")


def test_rerank_reads_texts() -> None:
    for arguments in (["-"], []):
        done = run("rerank", "who mends the roof?", *arguments, stdin=LINES)
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["-:2:", "-:4:"]
    hits = json_lines(run("rerank", "bees", "--json", stdin=ROWS).stdout)
    assert [hit["document_id"] for hit in hits] == ["bees", "roof"]
    twice = '{"_id": "a", "text": "x"}\n' * 2
    fails("rerank", "bees", "-", message="'a' twice", stdin=twice)


def test_encode_reads_texts(tmp_path: Path) -> None:
    for number, arguments in enumerate((["-"], [])):
        output = tmp_path / f"{number}.npz"
        done = run("encode", *arguments, "--query", "-o", output, "-q", stdin="bees\nroof\n")
        assert (done.exit_code, done.output) == (0, "")
        with np.load(output) as arrays:
            assert len(arrays) == 2


def test_index_reads_documents_and_keeps_them_up_to_date(tmp_path: Path) -> None:
    into, other = tmp_path / "index", tmp_path / "other.txt"
    other.write_text("Other.")
    made = json.loads(run("index", "-", other, "--into", into, "--json", stdin=ROWS).stdout)
    assert made["added"] == made["documents"] == 3
    assert json.loads(run("info", into, "--sources", "--json").stdout)["sources"] == {
        "-": 2, "../other.txt": 1,
    }  # fmt: skip
    changed = ROWS.splitlines()[0].replace("roof.", "attic.")
    again = json.loads(run("index", "-", "--into", into, "--json", stdin=changed).stdout)
    assert [again[name] for name in ("added", "changed", "deleted", "documents")] == [0, 1, 1, 2]
    kept = run("index", "-", "--into", into, "--keep-missing", "--json", stdin="A line.\n")
    assert json.loads(kept.stdout)["documents"] == 3
    prefixed = run("index", "-", "--into", into, "--id-prefix", "x/", "--json", stdin="A line.\n")
    assert json.loads(prefixed.stdout)["documents"] == 2
    assert run("search", into, "line", "-k", 1).stdout.startswith("x/-:1: ")


def test_index_says_what_standard_input_would_change(tmp_path: Path) -> None:
    done = run("index", "-", "--into", tmp_path / "index", "--dry-run", "--json", stdin=ROWS)
    assert json.loads(done.stdout)["added"] == ["roof", "bees"]
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "standard input has no texts"),
        ("\n \n", "standard input has no texts"),
        ('{"_id": "a", "text": "x"}\nno JSON\n', "standard input, line 2: not JSON"),
        ('{"text": "x"}\n', "standard input, line 1: no key '_id'"),
    ],
)
@pytest.mark.parametrize("command", ["search", "rerank", "index"])
def test_what_cannot_be_read_is_named(
    command: str, given: str, message: str, tmp_path: Path
) -> None:
    arguments = {
        "search": ["-", "bees"], "rerank": ["bees", "-"], "index": ["-", "--into", tmp_path / "i"],
    }[command]  # fmt: skip
    fails(command, *arguments, message=message, stdin=given)
    assert not (tmp_path / "i").exists()


def ended(arguments: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
    code = "from pocket_colbert.cli.entry import main; main()"
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", code, *arguments], capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, **options,
    )  # fmt: skip


def test_bytes_that_are_no_utf8_are_named() -> None:
    done = ended(["search", "-", "bees"], input=b"fine\ncaf\xe9\n")
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr == b"Error: standard input, line 2: not UTF-8 (byte 3).\n"


@pytest.mark.skipif(os.name == "nt", reason="closes a descriptor of POSIX")
def test_a_closed_standard_input_is_an_error() -> None:
    done = ended(["search", "-", "bees"], preexec_fn=lambda: os.close(0))
    assert (done.returncode, done.stderr) == (2, b"Error: standard input is closed.\n")


def test_a_file_named_like_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POCKET_COLBERT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "-").write_text("Bees swarm in May.\n")
    assert "1 documents" in run("index", "./-", "--into", "index", stdin="").stdout
    assert run("rerank", "bees", "./-", stdin="").exit_code == 0
    assert run("search", "./-", "bees", stdin="").stdout.startswith("-:1: ")


def test_tokens_cannot_be_dropped_from_what_is_read_once(tmp_path: Path) -> None:
    into = tmp_path / "index"
    fails("index", "-", "--into", into, "--drop-frequent", 3, message="twice", stdin="x")

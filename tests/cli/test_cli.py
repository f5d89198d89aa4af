"""The command line as its users meet it: results, exit codes, messages."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import Encoder, Index, IndexConfig
from pocket_colbert.ingest.readers import read_documents
from tests.support.cli import fails, json_lines, run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files of all kinds."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "sub").mkdir()
    (folder / "france.txt").write_text("Paris is the capital of France.", encoding="utf-8")
    (folder / "sub" / "bread.md").write_text("# Bread\n\nKnead the dough, let it rise.\n", "utf-8")
    (folder / "bees.html").write_text(
        "<html><head><title>Bees</title><style>p {color: red}</style></head><body><script>x()"
        "</script><p>A colony swarms when the queen lacks room.</p></body></html>", "utf-8",
    )  # fmt: skip
    with gzip.open(folder / "rows.jsonl.gz", "wt", encoding="utf-8") as stream:
        for n, text in enumerate(["Voltage is measured in volts.", "Rivers flow into the sea."]):
            stream.write(json.dumps({"_id": n, "title": f"Row {n}", "text": text, "n": n}) + "\n")
    (folder / ".hidden.txt").write_text("secret", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture(scope="module")
def index(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "index"
    result = run("index", corpus, "--into", folder)
    assert result.exit_code == 0, result.output
    assert "5 documents" in result.output
    return folder


def test_search_answers(index: Path) -> None:
    result = run("search", index, "what is the French capital?", "-k", 2)
    assert result.exit_code == 0 and result.stderr == ""
    first, *_ = result.stdout.splitlines()
    path, line, text = first.split(":", maxsplit=2)
    assert path.endswith("france.txt") and Path(path).is_file() and line == "1"
    assert text.endswith("Paris is the capital of France.")
    hits = json_lines(run("search", index, "why do bees swarm", "--json").stdout)
    assert hits[0]["document_id"] == "bees.html" and hits[0]["title"] == "Bees"
    assert "color" not in hits[0]["text"] and "x()" not in hits[0]["text"]
    assert len(hits) == 5


def test_documents_without_texts_are_found(encoder: Encoder, tmp_path: Path) -> None:
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with Index.create(tmp_path / "index", config) as made:
        texts = ["Paris is the capital of France.", "Bees swarm in May."]
        made.add(["a", "b"], encoder.encode_document(texts), texts=[None, texts[1]])
        made.commit()
    result = run("search", tmp_path / "index", "the French capital", "--explain")
    first, second = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert first.startswith("a: ") and first.endswith(" (no text)")
    assert second.startswith("b: ") and second.endswith(" Bees swarm in May.")
    hits = json_lines(
        run("search", tmp_path / "index", "the French capital", "--explain", "--json").stdout
    )
    assert [hit["snippet"] for hit in hits] == [None, [0, 18]]
    assert ["explanation" in hit for hit in hits] == [False, True]


def ranked_in_cp1252(folder: Path, *options: str) -> str:
    """Rerank texts that cp1252 cannot hold on a console that has no other encoding."""
    (folder / "texts.txt").write_text("東京 is a city 😀.\nCafé.\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from pocket_colbert.cli.commands import main; main()", "rerank",
         "city", folder / "texts.txt", *options],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stderr == b""
    return done.stdout.decode("cp1252")


def test_what_the_console_cannot_show_is_escaped(tmp_path: Path) -> None:
    shown = ranked_in_cp1252(tmp_path)
    assert "\\u6771\\u4eac is a city \\U0001f600." in shown and "Café." in shown


def test_json_holds_what_the_console_cannot_show(tmp_path: Path) -> None:
    hits = json_lines(ranked_in_cp1252(tmp_path, "--json"))
    assert [hit["text"] for hit in hits] == ["東京 is a city 😀.", "Café."]


def test_texts_do_not_command_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    evil = "\x1b[31mred\x07 \x9b2J\x7fend"
    path.write_text(json.dumps({"_id": f"a{evil}", "title": evil, "text": evil}), encoding="utf-8")
    assert run("index", path, "--into", tmp_path / "index").exit_code == 0
    result = run("search", tmp_path / "index", "red", "--explain")
    assert not set("\x1b\x07\x9b\x7f") & set(result.stdout)
    assert "a[31mred 2Jend" in result.stdout
    hits = json_lines(run("search", tmp_path / "index", "red", "--json").stdout)
    assert hits[0]["text"] == evil and hits[0]["document_id"] == f"a{evil}"


def test_info_splits_the_bytes(index: Path) -> None:
    found = json.loads(run("info", index, "--json").stdout)
    assert found["documents"] == 5 and found["codes"] == "int4"
    assert 48 * found["tokens"] < found["bytes"]["vectors"] < 60 * found["tokens"] + 2000
    assert sum(found["bytes"].values()) == sum(
        path.stat().st_size for path in (index / "segments").rglob("*.*")
    )
    shown = run("info", index).stdout
    assert "bytes a token vector" in shown and "pruning: none" in shown and "in memory" in shown


def test_update_and_overwrite(corpus: Path, tmp_path: Path) -> None:
    """Only what has changed is encoded, what is gone is deleted, other paths are left alone."""
    folder, notes, extra = tmp_path / "index", tmp_path / "notes", tmp_path / "extra.txt"
    notes.mkdir()
    for name in "abc":
        (notes / f"{name}.txt").write_text(f"Note {name} on glaciers.", encoding="utf-8")
    extra.write_text("Glaciers calve icebergs.", encoding="utf-8")
    assert run("index", notes, "--into", folder, "--pool-factor", 2).exit_code == 0
    added = json.loads(run("index", extra, "--into", folder, "--json").stdout)
    assert (added["added"], added["deleted"], added["documents"]) == (1, 0, 4)
    assert added["pruning"]["pool_factor"] == 2.0
    (notes / "a.txt").write_text("Note a on rivers.", encoding="utf-8")
    (notes / "b.txt").unlink()
    (notes / "d.txt").write_text("Note d on bread.", encoding="utf-8")
    kept = json.loads(run("index", notes, "--into", folder, "--keep-missing", "--json").stdout)
    assert [kept[name] for name in ("added", "changed", "unchanged", "deleted")] == [1, 1, 1, 0]
    shown = run("index", notes, "--into", folder).stdout
    assert "0 added, 0 changed, 3 unchanged, 1 deleted" in shown
    hits = json_lines(run("search", folder, "rivers", "-k", 9, "--json").stdout)
    assert sorted(hit["document_id"] for hit in hits) == ["a.txt", "c.txt", "d.txt", "extra.txt"]
    assert hits[0]["document_id"] == "a.txt"
    fails(
        "index",
        notes,
        "--into",
        folder,
        "--codes",
        "int8",
        message="made with codes=int4, got int8",
    )
    fails("index", notes, "--into", folder, "--drop-frequent", 3, message="drop_frequent=0, got 3")
    run("index", notes, "--into", folder, "--drop-frequent", 0, "--pool-factor", 2)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("Another a.", encoding="utf-8")
    added = json.loads(run("index", other, "--into", folder, "--json").stdout)
    assert added["added"] == 1 and added["documents"] == 5
    again = json.loads(run("index", other, notes, "--into", folder, "--json").stdout)
    assert again["unchanged"] == 4 and again["documents"] == 5
    counts = json.loads(run("info", folder, "--sources", "--json").stdout)["sources"]
    assert counts == {"../extra.txt": 1, "../notes": 3, "../other": 1}
    assert "        1  ../other\n" in run("info", folder, "--sources").stdout
    hits = json_lines(run("search", folder, "another", "-k", 9, "--json").stdout)
    assert {"a.txt", "other/a.txt"} <= {hit["document_id"] for hit in hits}
    assert "1 deleted, 4 documents" in run("delete", folder, "--source", "../other").stdout
    assert "no document is from" in run("delete", folder, "--source", "../other").stderr
    result = run("delete", folder, "--where", '{"path": "c.txt"}')
    assert "1 deleted, 3 documents" in result.stdout
    for wrong in ("{}", "[", '"x"', "[]"):
        fails("delete", folder, "--where", wrong, message="--where must be", code=2)
    fails("delete", folder, message="one of the three", code=2)
    fails("delete", folder, "a", "--source", "x", message="one of the three", code=2)
    assert run("index", extra, "--into", folder, "--overwrite").exit_code == 0
    assert json.loads(run("info", folder, "--json").stdout)["documents"] == 1
    fails("index", extra, "--into", corpus, message="not an index")
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["extra.txt", "index", "notes", "other"]


@pytest.fixture
def glaciers(tmp_path: Path) -> tuple[Path, Path]:
    """A file of text, and the index of it, which one commit has made."""
    path, folder = tmp_path / "glaciers.txt", tmp_path / "made" / "index"
    path.write_text("Glaciers calve icebergs.", encoding="utf-8")
    assert run("index", path, "--into", folder).exit_code == 0
    return path, folder


def test_overwrite_waits_for_the_writer(glaciers: tuple[Path, Path]) -> None:
    path, folder = glaciers
    with Index.load(folder, writable=True) as writer:
        fails("index", path, "--into", folder, "--overwrite", message="is being written to by")
        writer.delete(["glaciers.txt"])
        writer.commit()
    assert run("index", path, "--into", folder, "--overwrite").exit_code == 0
    assert json.loads(run("info", folder, "--json").stdout)["documents"] == 1
    assert run("check", folder).exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links")
def test_overwrite_replaces_in_one_step_what_it_is_given(
    glaciers: tuple[Path, Path], tmp_path: Path
) -> None:
    """A link stays a link, what a killed process left goes, and a reader follows."""
    path, folder = glaciers
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    (folder / "replacement" / "segments").mkdir(parents=True)
    with Index.load(folder) as reader:
        path.write_text("Icebergs melt.", encoding="utf-8")
        assert run("index", path, "--into", link, "--overwrite").exit_code == 0
        assert reader.get("glaciers.txt").text == "Glaciers calve icebergs."
        assert reader.refresh() and reader.get("glaciers.txt").text == "Icebergs melt."
    assert link.is_symlink() and run("check", folder).exit_code == 0
    assert [item.name for item in folder.parent.iterdir()] == ["index"]
    assert not (folder / "replacement").exists()


def test_overwrite_that_fails_leaves_the_index(glaciers: tuple[Path, Path], tmp_path: Path) -> None:
    path, folder = glaciers
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"_id": "1", "text": "One."}\nno JSON', encoding="utf-8")
    fails("index", rows, "--into", folder, "--overwrite", "--strict", message="line 2: not JSON")
    assert not (folder / "replacement").exists() and run("check", folder).exit_code == 0
    manifest = folder / "manifest.json"
    manifest.write_text("{", encoding="utf-8")
    assert run("index", path, "--into", folder, "--overwrite").exit_code == 0  # damaged or not
    assert json.loads(run("info", folder, "--json").stdout)["documents"] == 1


@pytest.mark.parametrize(("moving", "source"), [("docs", "../../2024"), ("index", "../../../2023")])
def test_what_has_moved_is_said_and_not_encoded_again(
    moving: str, source: str, tmp_path: Path
) -> None:
    docs, folder = tmp_path / "2023", tmp_path / "made" / "index"
    docs.mkdir()
    for name in "ab":
        (docs / f"{name}.txt").write_text(f"Note {name}.", encoding="utf-8")
    other = tmp_path / "other.txt"
    other.write_text("Other.", encoding="utf-8")
    assert run("index", docs, other, "--into", folder).exit_code == 0
    if moving == "docs":
        docs = docs.rename(tmp_path / "2024")
    else:
        (tmp_path / "deep" / "er").mkdir(parents=True)
        folder = folder.rename(tmp_path / "deep" / "er" / "index")
    message = "../../2023, which no longer exists"
    fails("index", docs, "--into", folder, message=message)
    fails("index", docs, "--into", folder, "--moved-from", "x", message="is from 'x'")
    fails("index", docs, other, "--into", folder, "--moved-from", "x", message="PATH", code=2)
    fails("index", docs, "--into", tmp_path / "new", "--moved-from", "x", message="PATH", code=2)
    result = run("index", docs, "--into", folder, "--moved-from", "../../2023")
    assert "0 added, 0 changed, 2 unchanged, 0 deleted" in result.stdout
    with Index.load(folder, verify=True) as made:
        assert len(made) == 3 and made.get("a.txt").source == source


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links")
def test_links_are_followed_and_every_folder_is_read_once(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "real", root / ".hidden", outside / "deep"):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text("A.", encoding="utf-8")
    (outside / "file.txt").write_text("File.", encoding="utf-8")
    links = {
        root / "again": root / "real", root / "loop": root, root / "real" / "up": root,
        root / "hidden": root / ".hidden", root / "out": outside, root / "out2": outside / "deep",
        outside / "deep" / "back": root, root / "linked.txt": outside / "file.txt",
    }  # fmt: skip
    for link, target in links.items():
        link.symlink_to(target)
    found = [document.document_id for document in read_documents([root])]
    assert found == ["linked.txt", "real/a.txt", "hidden/a.txt", "out/deep/a.txt", "out/file.txt"]
    into = tmp_path / "index"
    assert run("index", root, "--into", into).exit_code == 0
    (root / "real").rename(tmp_path / "elsewhere")
    (root / "again").unlink()
    (root / "real").symlink_to(tmp_path / "elsewhere")
    shown = run("index", root, "--into", into).stdout
    assert "0 added, 0 changed, 5 unchanged, 0 deleted" in shown
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    fails("index", root, "--into", into, "--strict", message="real: is a link that leads nowhere")
    (root / "real").unlink()
    (root / "real").symlink_to(root / "real")
    fails("index", root, "--into", into, "--strict", message="real: is a link that leads nowhere")


@pytest.mark.parametrize("value", ["true", "1.0", "[1]", '{"a": 1}', "2"])
def test_metadata_of_another_json_type_has_changed(value: str, tmp_path: Path) -> None:
    rows, folder = tmp_path / "rows.jsonl", tmp_path / "index"
    line = '{{"_id": "a", "text": "A.", "value": {}, "list": [{}], "z": 1, "y": 2}}'
    rows.write_text(line.format(1, 1), encoding="utf-8")
    assert run("index", rows, "--into", folder).exit_code == 0
    assert " 1 unchanged" in run("index", rows, "--into", folder).stdout
    for values in ((value, 1), (value, value)):
        rows.write_text(line.format(*values), encoding="utf-8")
        assert " 1 changed" in run("index", rows, "--into", folder).stdout
        assert " 1 unchanged" in run("index", rows, "--into", folder).stdout


@pytest.mark.parametrize(
    "arguments",
    [("index", "", "--into", "x"), ("index", "x", "--into", ""), ("info", ""), ("search", "", "q")],
)
def test_no_path_is_not_the_current_folder(arguments: tuple[str, ...]) -> None:
    fails(*arguments, message="a path must not be empty", code=2)


def test_a_place_that_cannot_be_made_is_named(glaciers: tuple[Path, Path]) -> None:
    path, _ = glaciers
    fails("index", path, "--into", path / "deep" / "index", message="Not a directory")


def test_interrupted_indexing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Encoder
) -> None:
    """Ctrl-C keeps what was encoded; the next call encodes the rest only."""
    from pocket_colbert.ingest import incremental as sync

    rows = [{"_id": str(n), "text": f"Text number {n}."} for n in range(40)]
    path, folder = tmp_path / "rows.jsonl", tmp_path / "index"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.setattr(sync, "Pace", partial(sync.Pace, documents=10))
    upsert, calls = Index.add_prepared, []

    def interrupted(self: Index, prepared: Any, **options: Any) -> None:
        calls.append(len(prepared.documents))
        if len(calls) == 3:
            raise KeyboardInterrupt
        upsert(self, prepared, **options)

    monkeypatch.setattr(Index, "add_prepared", interrupted)
    result = run("index", path, "--into", folder)
    assert result.exit_code == 130 and "Interrupted after 20 documents" in result.stderr
    found = json.loads(run("index", path, "--into", folder, "--json").stdout)
    assert (found["added"], found["unchanged"], found["documents"]) == (20, 20, 40)
    assert calls == [10, 10, 10, 0, 0, 10, 10]


def test_delete_compact_and_check(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    assert run("index", corpus, "--into", folder).exit_code == 0
    result = run("delete", folder, "bees.html", "nobody")
    assert "1 deleted, 4 documents left" in result.stdout and "not in the index" in result.stderr
    assert "1 deleted ones" in run("info", folder).stdout
    before = json.loads(run("info", folder, "--json").stdout)
    found = json.loads(run("compact", folder, "--json").stdout)
    assert found["deleted"] == 0 and found["tokens"] < before["tokens"]
    assert "no problems found" in run("check", folder).stdout
    path = next(folder.rglob("codes.u8"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = run("check", folder)
    assert result.exit_code == 1 and "codes.u8 is damaged" in result.stdout
    assert len(json.loads(run("check", folder, "--json").stdout)["problems"]) == 1
    fails("check", tmp_path, message="no index at")


def test_search_with_filter_keywords_and_explanation(index: Path) -> None:
    hits = json_lines(run("search", index, "sea", "--where", '{"n": {"$gte": 1}}', "--json").stdout)
    assert [hit["document_id"] for hit in hits] == ["1"] and hits[0]["metadata"]["n"] == 1
    hits = json_lines(run("search", index, "river", "--hybrid", "keywords", "--json").stdout)
    assert [hit["document_id"] for hit in hits] == ["1"]
    shown = run("search", index, "capital of France", "-k", 1, "--explain").stdout
    assert "capital - capital" in shown and "[MASK]" not in shown and "fillers add" in shown
    shares = [float(share) for share in re.findall(r"(\d+\.\d)%", shown)]
    assert len(shares) == 3 and sum(shares) == pytest.approx(100, abs=0.2)
    hit = json_lines(run("search", index, "why do bees swarm", "-k", 1, "--json").stdout)[0]
    assert hit["text"][slice(*hit["snippet"])] == "A colony swarms when the queen lacks room."
    fails("search", index, "x", "--where", "{", message="must be JSON", code=2)
    fails("search", index, "x", "--where", '{"$x": 1}', message="a filter has names of fields")


def test_json_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"key": "a", "body": "some text"}\n\n{"key": "b", "body": "more"}\n', "utf-8")
    folder = tmp_path / "index"
    result = run("index", path, "--into", folder, "--id-field", "key", "--text-field", "body")
    assert result.exit_code == 0, result.output
    fails("index", path, "--into", tmp_path / "x", message="line 1: no key '_id'")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', "'a' twice"),
        ("a.jsonl", b'{"_id": "a", "text": "x"}\n{oops}\n', "line 2: not JSON"),
        ("a.jsonl", b"[1]\n", "line 1: not a JSON object"),
        ("a.jsonl", b'{"_id": "a", "text": 5}\n', "'text' must be a string"),
        ("a.jsonl", b'{"_id": "", "text": "x"}\n', "must not be empty"),
        ("a.jsonl", b'\xff{"_id": "a"}\n', "not UTF-8"),
        ("a.jsonl", b"", "no documents"),
        ("a.jsonl.gz", b"not gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"x")[:10] + b"\xff" * 20, "cannot be read: Error -3"),
        ("a.txt", b"caf\0\xe9", "it is binary"),
        ("a.pdf", b"%PDF-1.7", "it is no PDF or damaged"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    fails("index", path, "--into", tmp_path / "index", "--strict", message=message)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_missing_things_are_named(tmp_path: Path, index: Path) -> None:
    fails("index", tmp_path / "no", "--into", tmp_path / "i", message="there is no file or folder")
    (tmp_path / "empty").mkdir()
    fails("index", tmp_path / "empty", "--into", tmp_path / "i", message="has no documents")
    fails("search", tmp_path / "no", "x", message="there is no index, file or folder at")
    fails("search", tmp_path / "empty", "x", message="has no documents")
    fails("search", tmp_path, " ", message="a query must not be empty")
    fails("rerank", "x", tmp_path / "empty", message="is a folder; name a file")
    fails("info", tmp_path / "empty", message="no index at")
    fails("search", index, "x", "--model", "nope", message="no model 'nope'")
    fails("search", index, "x", "--provider", "nope", message="not available")
    fails("evaluate", tmp_path / "no", message="there is no folder")
    fails("evaluate", tmp_path / "empty", message="no corpus.jsonl")
    fails("rerank", "x", tmp_path / "no.txt", message="there is no file")
    fails("search", index, "x", "-k", 0, message="-k", code=2)
    fails("index", index, message="--into", code=2)


def test_damaged_indexes_are_named(index: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(index, tmp_path / "copy")
    path = next(copy.rglob("codes.u8"))
    path.write_bytes(path.read_bytes()[:-1])
    fails("search", copy, "x", message="codes.u8 is damaged")


def test_a_full_disk_is_one_error(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocket_colbert.storage.segment import Segment

    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr(Segment, "write", full)
    fails("index", corpus, "--into", tmp_path / "index", message="No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, path: Path) -> None:
        if path.name == "codes.u8":
            raise OSError(28, "No space left on device")  # as the system says it, of no file

    monkeypatch.setattr("pocket_colbert.storage.files.synchronise", full)
    place = f"No space left on device: {tmp_path / 'index'}"
    fails("index", corpus, "--into", tmp_path / "index", message=place)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_texts_end_with_their_lines_alone(end: str, tmp_path: Path) -> None:
    path, output = tmp_path / "lines.txt", tmp_path / "vectors.npz"
    lines = ["Paris\fis in\u2028France.", "Rivers\rflow\x85into the sea."]
    path.write_bytes("".join(line + end for line in lines).encode())
    hits = json_lines(run("rerank", "where is Paris?", path, "--json").stdout)
    assert [hit["text"] for hit in hits] == lines
    assert run("encode", "--document", "-o", output, path).exit_code == 0
    with np.load(output) as arrays:
        assert len(arrays) == 2


@pytest.mark.parametrize(
    "row",
    [
        '{"_id": "a", "text": "\\ud800"}',
        '{"_id": "a", "text": "x", "n": NaN}',
        '{"_id": "a", "text": "x", "n": Infinity}',
        '{"_id": "a", "text": "x", "n": ' + "[" * 200 + "]" * 200 + "}",
    ],
    ids=["surrogate", "nan", "infinity", "deep"],
)
def test_a_line_that_cannot_be_stored_is_named(row: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"_id": "good", "text": "x"}\n' + row + "\n", encoding="utf-8")
    result = run("index", path, "--into", tmp_path / "index", "--strict")
    assert result.exit_code == 2 and f"{path}, line 2: " in result.output
    result = run("index", path, "--into", tmp_path / "index")  # the good line is indexed
    assert result.exit_code == 0 and "index: 1 documents" in result.stdout
    assert f"{path}: line 2: " in result.stderr
    fails("rerank", "x", path, message=f"{path}, line 2: ")


def test_rerank(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("Rivers flow into the sea.\n\nParis is in France.\n", encoding="utf-8")
    hits = json_lines(run("rerank", "where is Paris?", path, "--json").stdout)
    assert [hit["document_id"] for hit in hits] == ["1", "0"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"_id": "x", "text": "Paris is in France."}\n', encoding="utf-8")
    assert run("rerank", "where is Paris?", rows).stdout.startswith("x: ")
    path.write_text("\n", encoding="utf-8")
    fails("rerank", "x", path, message="has no texts")


@pytest.mark.parametrize("task", ["query", "document"])
def test_encode_writes_what_the_encoder_gives(task: str, tmp_path: Path, encoder: Encoder) -> None:
    output = tmp_path / "vectors.npz"
    texts = ["hello world", "", "two, three"]
    wanted = getattr(encoder, f"encode_{task}")(texts)
    for stdin, extra in (("\n".join(texts) + "\n", []), (json.dumps(texts), ["--json"])):
        result = run("encode", f"--{task}", "-o", output, *extra, stdin=stdin)
        assert result.exit_code == 0, result.output
        with np.load(output) as found:
            assert sorted(found.files) == ["0", "1", "2"]
            for number, array in enumerate(wanted):
                np.testing.assert_array_equal(found[str(number)], array)
    fails("encode", "-o", output, message="--query or --document", code=2, stdin="x")
    fails("encode", "--query", "--json", "-o", output, message="list of strings", stdin='"x"')


def test_evaluate_a_beir_folder(tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    corpus = {"p": "Paris is the capital of France.", "b": "Berlin is the capital of Germany."}
    queries = {"q1": "capital of France", "q2": "capital of Germany", "unjudged": "x"}
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in rows.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp\t1\nq2\tb\t1\n")
    found = json.loads(run("evaluate", folder, "--json").stdout)
    assert found["split"] == "dev" and found["queries"] == 2 and found["documents"] == 2
    assert found["nDCG@10"] == found["MRR@10"] == found["Recall@100"] == 1.0
    assert found["documents_per_second"] > 0 and found["query_ms_p95"] >= found["query_ms_p50"]
    assert "nDCG@10" in run("evaluate", folder).stdout
    fails("evaluate", folder, "--split", "test", message="it has dev")
    (folder / "qrels" / "dev.tsv").write_text("q9\tp\t1\n")
    fails("evaluate", folder, message="query 'q9'")
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1 p 1\n")
    fails("evaluate", folder, message="line 2: expected")

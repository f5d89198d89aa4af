"""Index folders that are damaged, or made to do harm, and everything that one does with an index.

Half of the inputs are damaged as a disk does it, so that checksums are wrong. The other half is
hostile: the manifest has the right checksums of the wrong files.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import signal
import sqlite3
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from pocket_colbert import (
    Document,
    Hit,
    Index,
    IndexConfig,
    Passage,
    PocketColbertError,
    SearchParameters,
)
from pocket_colbert.config import CandidateSource
from pocket_colbert.index.integrity import check_index
from pocket_colbert.storage.manifest import _checksum
from tests.support.arrays import unit_rows

DIM = 8
SECONDS = 5.0
"""Time limit of one input; the usual is some milliseconds."""

Files = dict[str, bytes]
"""Contents by path within the folder."""

Manifest = dict[str, Any]
"""What the manifest says."""

QUERY = unit_rows(np.random.default_rng(3), 3, DIM)
SEARCHES: list[dict[str, Any]] = [
    {"parameters": SearchParameters(mode="exact", passages=3)},
    {"parameters": SearchParameters(mode="approximate", candidates=3)},
    {"parameters": SearchParameters(hybrid="rrf", mode="exact"), "texts": ["common word3"]},
    {"parameters": SearchParameters(hybrid="weighted"), "texts": ["word7 word5"]},
    {"parameters": SearchParameters(hybrid="keywords"), "texts": ["common words word9"]},
    {"where": {"n": {"$gte": 2}, "tag": {"$prefix": "t"}}},
    {"where": {"$not": {"inner.deep": 3}}},
    {"subset": ["d1", "e1"]},
]

HOSTILE_SQL = {
    "view": "ALTER TABLE documents RENAME TO other; "
    "CREATE VIEW documents AS SELECT * FROM other",
    "endless view": "DROP TABLE documents; CREATE VIEW documents AS WITH RECURSIVE endless"
    "(position) AS (SELECT 0 UNION ALL SELECT position + 1 FROM endless) SELECT position, "
    "'d' || position AS document_id, '' AS title, '' AS source, '' AS metadata, '' AS text "
    "FROM endless",
    "endless fields": "DROP TABLE fields; CREATE VIEW fields AS WITH RECURSIVE endless(position) "
    "AS (SELECT 0 UNION ALL SELECT 1 FROM endless) SELECT 'n' AS name, 3 AS value, position "
    "FROM endless",
    "trigger": "CREATE TRIGGER t AFTER UPDATE ON documents BEGIN DELETE FROM documents; END",
    "other table": "CREATE TABLE other (a)",
    "other virtual table": "CREATE VIRTUAL TABLE other USING fts5(text)",
    "other index": "CREATE INDEX other ON documents (text)",
    "statistics": "ANALYZE",
    "generated column": "DROP TABLE passages; CREATE TABLE passages (passage INTEGER PRIMARY KEY, "
    "start INTEGER, stop INTEGER AS (abs(-9223372036854775808)))",
    "expression index": "CREATE INDEX other ON documents (abs(position))",
    "shadow of nothing": "CREATE TABLE 'keywords_other' (a)",
    "no documents": "DELETE FROM documents",
    "no documents table": "DROP TABLE documents",
    "no passages table": "DROP TABLE passages",
    "no fields table": "DROP TABLE fields",
    "no keywords table": "DROP TABLE keywords",
    "no passages": "DELETE FROM passages",
    "no fields": "DELETE FROM fields",
    "other tokenizer": "DROP TABLE keywords; CREATE VIRTUAL TABLE keywords USING fts5(text, "
    "content='', tokenize='trigram')",
    "keywords with contents": "DROP TABLE keywords; CREATE VIRTUAL TABLE keywords USING "
    "fts5(text, content='documents', tokenize='trigram')",
    "keyword beyond": "INSERT INTO keywords(rowid, text) VALUES (99999, 'common word3')",
    "keyword far beyond": "INSERT INTO keywords(rowid, text) VALUES (4611686018427387904, "
    "'common word3')",
    "keyword below": "INSERT INTO keywords(rowid, text) VALUES (-3, 'common word3')",
    "keyword data": "UPDATE keywords_data SET block = x'00ff00ff' WHERE id > 1",
    "keyword data of text": "UPDATE keywords_data SET block = 'text'",
    "keyword structure": "UPDATE keywords_data SET block = zeroblob(length(block)) WHERE id = 10",
    "keyword averages": "UPDATE keywords_data SET block = x'ffffffffffffffff7f' WHERE id = 1",
    "no keyword data": "DELETE FROM keywords_data",
    "keyword sizes": "UPDATE keywords_docsize SET sz = x''",
    "no keyword sizes": "DELETE FROM keywords_docsize",
    "keyword version": "UPDATE keywords_config SET v = 99",
    "field beyond": "INSERT INTO fields VALUES ('n', 5, 99999), ('tag', 't', -99999)",
    "field of text": "INSERT INTO fields VALUES ('n', 5, 'three')",
    "field of nothing": "INSERT INTO fields VALUES ('n', 5, x'00')",
    "field far beyond": "INSERT INTO fields VALUES ('n', 5, 9223372036854775807)",
    "field of a fraction": "INSERT INTO fields VALUES ('n', 5, 1.5), ('n', 6, 1e300)",
    "hole": "UPDATE documents SET position = 77 WHERE position = 2; "
    "UPDATE documents SET position = 2 WHERE position = (SELECT MAX(position) FROM documents "
    "WHERE position < 77); UPDATE documents SET position = (SELECT COUNT(*) - 1 FROM documents) "
    "WHERE position = 77; DELETE FROM documents WHERE position = 3",
    "below zero": "UPDATE documents SET position = -1 WHERE position = 0",
    "number as text": "UPDATE documents SET text = CAST(5 AS BLOB)",
    "blobs": "UPDATE documents SET title = x'ff', text = zeroblob(5), source = x'80'",
    "blob as id": "UPDATE documents SET document_id = x'64' WHERE position = 1",
    "empty id": "UPDATE documents SET document_id = '' WHERE position = 1",
    "id with a zero": "UPDATE documents SET document_id = 'a' || char(0) || 'b' WHERE position = 1",
    "invalid text": "UPDATE documents SET text = CAST(x'80ff' AS TEXT)",
    "invalid id": "UPDATE documents SET document_id = CAST(x'80ff' AS TEXT) WHERE position = 1",
    "surrogate": "UPDATE documents SET title = CAST(x'eda080' AS TEXT)",
    "long text": "UPDATE documents SET text = hex(zeroblob(500000)) WHERE position = 1",
    "empty metadata": "UPDATE documents SET metadata = ' '",
    "broken metadata": "UPDATE documents SET metadata = '{\"n\": 1'",
    "list as metadata": "UPDATE documents SET metadata = '[1, 2]'",
    "text as metadata": "UPDATE documents SET metadata = '\"n\"'",
    "number as metadata": "UPDATE documents SET metadata = '7'",
    "null as metadata": "UPDATE documents SET metadata = 'null'",
    "infinite number in metadata": "UPDATE documents SET metadata = '{\"n\": 1e999}'",
    "deeper metadata": "UPDATE documents SET metadata = replace(hex(zeroblob(200)), '0', '[') || "
    "replace(hex(zeroblob(200)), '0', ']')",
    "deeper object": "UPDATE documents SET metadata = replace(hex(zeroblob(200)), '0', '{\"a\":') "
    "|| '1' || replace(hex(zeroblob(200)), '0', '}')",
    "no number in metadata": "UPDATE documents SET metadata = '{\"n\": NaN, \"m\": -Infinity}'",
    "huge number in metadata": "UPDATE documents SET metadata = '{\"n\": ' || hex(zeroblob(9000)) "
    "|| '1}'",
    "deep metadata": "UPDATE documents SET metadata = replace(hex(zeroblob(200000)), '0', '[')",
    "surrogate in metadata": "UPDATE documents SET metadata = '{\"n\": \"\\ud800\"}'",
    "blob as metadata": "UPDATE documents SET metadata = x'7b7d'",
    "invalid blob as metadata": "UPDATE documents SET metadata = x'80ff'",
    "spans of text": "UPDATE passages SET start = 'a', stop = 'b'",
    "spans of nothing": "UPDATE passages SET start = NULL, stop = x'00'",
    "spans of fractions": "UPDATE passages SET start = 0.5, stop = 1e300",
    "spans beyond": "UPDATE passages SET start = -5, stop = 9223372036854775807",
    "spans turned round": "UPDATE passages SET start = 3, stop = 1",
    "version 0": "PRAGMA user_version = 0",
    "version 2": "PRAGMA user_version = 2",
    "version 3": "PRAGMA user_version = 3",
    "version 99": "PRAGMA user_version = 99",
    "version below 0": "PRAGMA user_version = -1",
    "UTF-16": "PRAGMA encoding = 'UTF-16'; VACUUM",
    "write-ahead log": "PRAGMA journal_mode = WAL",
    "large pages": "PRAGMA page_size = 65536; VACUUM",
    "swapped tables": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 7 - "
    "rootpage WHERE rootpage BETWEEN 2 AND 5",
    "one page for two": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 2 WHERE "
    "name IN ('fields', 'passages')",
    "page beyond": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 4000000000 "
    "WHERE name = 'documents'",
    "the first page": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 1",
    "schema of nothing": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = NULL WHERE "
    "name = 'passages'",
    "schema of a blob": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = x'ff00' "
    "WHERE name = 'passages'",
    "schema of nonsense": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE' "
    "WHERE name = 'documents'",
    "name of a blob": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET name = x'ff' "
    "WHERE name = 'passages'",
    "name twice": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET name = 'documents', "
    "tbl_name = 'documents' WHERE name = 'fields'",
    "many rows": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) "
    "INSERT INTO fields SELECT 'n', n, 0 FROM c",
}  # fmt: skip

VALUES: list[Any] = [
    0, 1, -1, 2, 7, 8, 255, 1023, 1024, 2**31, 2**40, 2**48 - 1, 2**63, -(2**63), 10**400, 0.5,
    1e308, math.nan, math.inf, None, True, False, "", "x", "../../x", "/etc", "a\x00b", "\ud800",
    "int4", "always", "0" * 64, [], {}, [[]], [0], {"a": 1}, ["documents.sqlite"],
]  # fmt: skip


def make_index(folder: Path, candidates: CandidateSource = "lists") -> None:
    """Make an index of two segments with passages, deleted documents, and lists or graphs."""
    rng = np.random.default_rng(5)
    config = IndexConfig(dim=DIM, codes="int4", inverted_file="always", candidates=candidates)
    with Index.create(folder, config, threads=1) as index:
        for letter, count in (("d", 12), ("e", 7)):
            ids = [f"{letter}{n}" for n in range(count)]
            texts = [f"common words of {name} and word{n}" for n, name in enumerate(ids)]
            embeddings: list[Any] = [unit_rows(rng, int(rng.integers(1, 8)), DIM) for _ in ids]
            for n in (1, 4):
                parts = [Passage(6 * i, 6 * i + 5, unit_rows(rng, 3, DIM)) for i in range(3)]
                embeddings[n] = parts
            metadata = [{"n": n, "tag": f"t{n % 3}", "inner": {"deep": n}} for n in range(count)]
            index.add(ids, embeddings, texts=texts, metadata=metadata, titles=texts)
            index.commit()
        index.delete(["d2", "d7", "e3"])
        index.commit()
    (folder / "writer.lock").unlink(missing_ok=True)


class Fuzzer:
    """Makes inputs of a sound index and tries them."""

    def __init__(self, folder: Path, candidates: CandidateSource = "lists") -> None:
        self.folder = folder / "index"
        make_index(self.folder, candidates)
        self.sound: Files = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        self.databases = {
            (path, what): changed_database(content, statements, folder / "changed")
            for path, content in self.sound.items()
            if path.endswith(".sqlite")
            for what, statements in HOSTILE_SQL.items()
        }

    def input(self, seed: tuple[int, int]) -> tuple[str, Files]:
        """Return what was done, and the files that are changed by it."""
        rng = np.random.default_rng(seed)
        manifest = json.loads(self.sound["manifest.json"])
        hostile = bool(rng.random() < 0.5)
        files: Files = {}
        kinds = [self.bytes_changed, self.files_swapped]
        if hostile:
            kinds = [
                self.bytes_changed, self.files_swapped, self.numbers_changed, self.lengths_changed,
                self.manifest_changed, self.manifest_changed, self.codec_changed,
                self.database_changed, self.database_changed, self.database_changed,
            ]  # fmt: skip
        kind = kinds[rng.integers(len(kinds))]
        what = f"{'hostile' if hostile else 'damaged'} {kind(rng, files, manifest)}"
        if hostile:
            self.rehash(files, manifest)
        return what, files

    def rehash(self, files: Files, manifest: Manifest) -> None:
        """Write the manifest with the right checksums of changed files, and its own."""
        if "manifest.json" in files:
            return  # its bytes were changed
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # it says nonsense
            for segment in manifest["segments"]:
                entries = {
                    f"segments/{segment['name']}/{name}": entry
                    for name, entry in segment["files"].items()
                }
                if segment["deleted"] is not None:
                    name = f"{segment['name']}-{segment['deleted']['generation']:06d}.bits"
                    entries[f"deleted/{name}"] = segment["deleted"]["file"]
                for path, entry in entries.items():
                    if path in files:
                        entry["bytes"] = len(files[path])
                        entry["sha256"] = hashlib.sha256(files[path]).hexdigest()
        manifest.pop("checksum", None)
        with suppress(ValueError):  # numbers of too many digits have no checksum
            manifest["checksum"] = _checksum(manifest)
        with suppress(ValueError):
            files["manifest.json"] = json.dumps(manifest).encode()

    def some(self, rng: np.random.Generator, end: str = "") -> str:
        """Return the path of a file."""
        names = [name for name in self.sound if name.endswith(end)]
        return names[rng.integers(len(names))]

    def bytes_changed(self, rng: np.random.Generator, files: Files, manifest: Manifest) -> str:
        """Change bytes of a file as chance has it."""
        path = self.some(rng)
        data = bytearray(self.sound[path])
        how = rng.integers(8)
        for _ in range(rng.integers(1, 4)):
            start = int(rng.integers(len(data) + 1))
            end = min(start + int(rng.integers(1, 65)), len(data))
            if how == 0:
                del data[start:]
            elif how == 1 and start < len(data):
                data[start] ^= 1 << int(rng.integers(8))
            elif how == 2:
                data[start:start] = rng.bytes(int(rng.integers(1, 65)))
            elif how == 3:
                data[start:end] = bytes(end - start)
            elif how == 4:
                data[start:end] = rng.bytes(end - start)
            elif how == 5:
                data[start:end] = b"\xff" * (end - start)
            elif how == 6:
                del data[start:end]
            elif how == 7:
                data[start:end] = data[end : 2 * end - start]
        files[path] = bytes(data)
        return f"bytes {how} of {path}"

    def files_swapped(self, rng: np.random.Generator, files: Files, manifest: Manifest) -> str:
        """Put files in each other's place."""
        a = self.some(rng)
        b = self.some(rng, "" if rng.random() < 0.5 else a.rpartition("/")[2])
        files[a], files[b] = self.sound[b], self.sound[a]
        return f"{a} and {b} swapped"

    def numbers_changed(self, rng: np.random.Generator, files: Files, manifest: Manifest) -> str:
        """Change numbers of an array, or the order of their bytes."""
        ends = {
            ".i32": "<i4", ".f16": "<f2", ".f32": "<f4", ".bits": "u1", "lists.bin": "<u2",
            "codes.u8": "u1", "centroids.u8": "u1", "graph.usearch": "u1",
        }  # fmt: skip
        there = [end for end in ends if any(name.endswith(end) for name in self.sound)]
        end = there[rng.integers(len(there))]
        path = self.some(rng, end)
        numbers = np.frombuffer(self.sound[path], ends[end]).copy()
        how = rng.integers(5)
        place = rng.integers(len(numbers), size=int(rng.integers(1, 4)))
        if how == 0:
            numbers.byteswap(inplace=True)
        elif how == 1 and numbers.dtype.kind == "f":
            numbers[place] = [np.nan, np.inf, -np.inf, 0, -1, 6e4][rng.integers(6)]
        elif how == 1:
            numbers[place] = np.iinfo(numbers.dtype).max
        elif how == 2 and numbers.dtype.kind != "u":
            numbers = -numbers
        elif how == 3:
            rng.shuffle(numbers)
        else:
            numbers[place] -= numbers.dtype.type(1)  # the sum may stay as it was
            numbers[rng.integers(len(numbers), size=len(place))] += numbers.dtype.type(1)
        files[path] = numbers.tobytes()
        return f"numbers {how} of {path}"

    def lengths_changed(self, rng: np.random.Generator, files: Files, manifest: Manifest) -> str:
        """Change lengths of passages and all that has to go with them, but for the lists."""
        segment = manifest["segments"][rng.integers(len(manifest["segments"]))]
        place = f"segments/{segment['name']}/"
        lengths = np.frombuffer(self.sound[place + "lengths.i32"], "<i4").copy()
        lengths[rng.integers(len(lengths))] = [0, -1, 1000, 100_000, -(2**31)][rng.integers(5)]
        if rng.random() < 0.3:
            lengths[:] = 0
        total = int(lengths.astype(np.int64).sum())
        rows = max(int((-(-lengths.astype(np.int64) // 2)).sum()), 0)
        files[place + "lengths.i32"] = lengths.tobytes()
        files[place + "codes.u8"] = rng.bytes(rows * DIM)
        files[place + "scales.f16"] = np.full(2 * rows, 0.1, "<f2").tobytes()
        segment["num_tokens"] = total
        return f"lengths of {place}: {total} in all"

    def manifest_changed(self, rng: np.random.Generator, files: Files, manifest: Manifest) -> str:
        """Change values that the manifest holds."""
        places: list[tuple[Any, Any]] = []

        def visit(value: Any) -> None:
            keys = list(value) if isinstance(value, dict) else range(len(value))
            for key in keys:
                places.append((value, key))
                if isinstance(value[key], dict | list):
                    visit(value[key])

        manifest.pop("checksum")
        visit(manifest)
        said = []
        for _ in range(rng.integers(1, 3)):
            inside, key = places[rng.integers(len(places))]
            how = rng.integers(10)
            with suppress(KeyError, IndexError):
                if how == 0:
                    del inside[key]
                elif how == 1 and isinstance(inside, list):
                    inside.append(copy.deepcopy(inside[key]))
                elif how < 4 and isinstance(inside[key], int):
                    inside[key] += int(rng.choice([-8, -1, 1, 8, 1 << 32]))
                elif how == 4:
                    inside[key] = copy.deepcopy(places[rng.integers(len(places))][0])
                else:
                    inside[key] = VALUES[rng.integers(len(VALUES))]
                said.append(f"{key} {how}")
        return f"manifest {said}"

    def codec_changed(self, rng: np.random.Generator, files: Files, manifest: Manifest) -> str:
        """Change values of a codec."""
        path = self.some(rng, "codec.json")
        codec = json.loads(self.sound[path])
        value = VALUES[rng.integers(len(VALUES))]
        how = rng.integers(5)
        if how == 0:
            codec = value
        elif how == 1:
            codec["bits"] = value
        elif how == 2:
            codec["mean"] = value
        elif how == 3:
            codec["mean"][3] = value
        else:
            codec["mean"] = [3e38] * DIM
        with suppress(ValueError):
            files[path] = json.dumps(codec).encode()
        return f"{path} {how} {str(value)[:20]}"

    def database_changed(self, rng: np.random.Generator, files: Files, manifest: Manifest) -> str:
        """Change a database by statements, or its pages after them."""
        places = list(self.databases)
        path, what = places[rng.integers(len(places))]
        data = bytearray(self.databases[path, what])
        if rng.random() < 0.3:
            what = "pages"
            data = bytearray(self.sound[path])
        if what == "pages" or rng.random() < 0.2:
            for _ in range(rng.integers(1, 6)):
                page = 4096 * int(rng.integers(max(len(data) // 4096, 1)))
                place = page + int(rng.integers(100 if rng.random() < 0.7 else 4096))
                data[min(place, len(data) - 1)] = int(rng.integers(256))
        files[path] = bytes(data)
        return f"{path}: {what}"

    def problem(self, files: Files, *, check: bool, seconds: float = SECONDS) -> str | None:
        """Try changed files; return what goes wrong, None when it works or raises as it must."""
        for path, content in files.items():
            self.put(path, content)
        try:
            with alarm(seconds):
                use(self.folder, check=check)
        except PocketColbertError:
            return None
        except Exception:
            return traceback.format_exc()
        finally:
            for path in files:
                self.put(path, self.sound[path])
        return None

    def put(self, path: str, content: bytes) -> None:
        """Write a file; what is mapped into memory still stays as it is."""
        (self.folder / path).unlink(missing_ok=True)
        (self.folder / path).write_bytes(content)


def changed_database(content: bytes, statements: str, path: Path) -> bytes:
    """Return what a database is after some statements; one that fails ends them."""
    path.write_bytes(content)
    connection = sqlite3.connect(path, isolation_level=None)
    with suppress(sqlite3.Error):
        connection.executescript(statements)
    connection.close()
    return path.read_bytes()


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise when it takes longer, where the system has such clocks.

    The limit is of processor time, as a machine may be busy with other things; what only waits has
    ten times as long.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds} s")

    clocks = (signal.SIGALRM, signal.ITIMER_REAL, 10), (signal.SIGPROF, signal.ITIMER_PROF, 1)
    before = [signal.signal(number, ring) for number, _, _ in clocks]
    for _, clock, times in clocks:
        signal.setitimer(clock, times * seconds)
    try:
        yield
    finally:
        for (number, clock, _), handler in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(number, handler)


def use(folder: Path, *, check: bool) -> None:
    """Do everything that one can do with an index that is open for reading."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numbers that are none make NumPy say so
        if check:
            with suppress(PocketColbertError):
                assert all(isinstance(problem, str) for problem in check_index(folder))
        with Index.load(folder, threads=1) as index:
            assert len(index) >= 0
            ids = ["d1", "e1", "nowhere"]
            with suppress(PocketColbertError):
                documents = list(index)
                check_documents(documents)
                ids += [document.document_id for document in documents[:3]]
            for document_id in ids:
                with suppress(PocketColbertError):
                    check_documents([index.get(document_id)])
                with suppress(PocketColbertError):
                    for passage in index.passages(document_id):
                        assert type(passage.start) is type(passage.end) is int
                        assert passage.embedding.shape[1:] == (index.dim,)
            for search in SEARCHES:
                with suppress(PocketColbertError):
                    check_hits(index.search([QUERY], 5, **search)[0])
            with suppress(PocketColbertError):
                index.info()


def check_documents(documents: list[Document]) -> None:
    """Check that what comes out is of the kinds that may go in."""
    for item in documents:
        assert isinstance(item.document_id, str) and item.document_id
        for value in (item.text, item.title, item.source):
            assert value is None or isinstance(value, str)
        assert isinstance(item.metadata, Mapping)


def check_hits(hits: list[Hit]) -> None:
    """Check that hits are of the right kinds."""
    assert len(hits) <= 5
    for hit in hits:
        check_documents([Document(hit.document_id, hit.text, hit.title, hit.metadata)])
        assert isinstance(hit.score, float)
        for passage in hit.passages:
            assert type(passage.start) is type(passage.end) is int


def write_to(folder: Path) -> None:
    """Open an index for writing, change it, and read it; the one typed error is an answer too."""
    with (
        alarm(SECONDS),
        suppress(PocketColbertError),
        Index.load(folder, writable=True, threads=1) as index,
    ):
        index.upsert(["d1", "new"], [QUERY, QUERY])
        with suppress(PocketColbertError):
            index.delete(["d3", "e1"])
        index.compact()
        check_documents(list(index))

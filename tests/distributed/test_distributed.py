"""Corpora encoded by many workers are whole, the same each time, and rank as in one process."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pocket_colbert import (
    BackendError,
    BackendNotFoundError,
    ClusterError,
    CorpusError,
    Document,
    Encoder,
    Index,
    IndexConfig,
    IndexConflictError,
    InvalidInputError,
    OptionalDependencyError,
    Retriever,
    SearchParameters,
    Splitting,
)
from pocket_colbert.cli.commands import main
from pocket_colbert.ingest.rows import Fields
from tests.support.paths import SHARED
from tests.support.ray_workers import workers_of_ray

if not importlib.util.find_spec("ray"):
    pytest.skip("needs the 'ray' extra", allow_module_level=True)

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from pocket_colbert import distributed
from pocket_colbert.backends import open_backend, push
from pocket_colbert.distributed import (
    EncodedCorpus,
    PartSize,
    Workers,
    encode_corpus,
    index_encoded,
    workers,
)
from pocket_colbert.distributed.corpus_sources import find_files, in_parts, read_file, survey_file
from pocket_colbert.distributed.job import Job, JobFile
from pocket_colbert.distributed.open_target import target_at
from pocket_colbert.distributed.workers import PartEncoder, parts_of_file

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # of Ray's own

HAS_LANCE = all(importlib.util.find_spec(name) for name in ("lance", "lancedb"))
needs_lance = pytest.mark.skipif(not HAS_LANCE, reason="needs the 'ray-lance' extra")
SIZE = PartSize(documents=8, characters=2000)
SPLITTING = Splitting(max_tokens=24, overlap=4)
EXACT = SearchParameters(mode="exact")
WORDS = "bees honey tax roof bread dough court supplier river Paris music engine ocean law".split()


def texts_of(rng: np.random.Generator, number: int) -> list[str]:
    return [" ".join(rng.choice(WORDS, size=rng.integers(1, 60))) for _ in range(number)]


def rows_of(rng: np.random.Generator, prefix: str, number: int) -> list[dict[str, Any]]:
    return [
        {"_id": f"{prefix}{n}", "text": text, "title": f"Title {n}", "year": 1900 + n}
        for n, text in enumerate(texts_of(rng, number))
    ]


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def corpus(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Documents in three kinds of files, one of them in a folder of its own."""
    folder = tmp_path / "corpus"
    write_lines(folder / "a.jsonl", rows_of(rng, "a", 30))
    write_lines(folder / "deeper" / "b.jsonl.gz", rows_of(rng, "b", 21))
    pq.write_table(pa.Table.from_pylist(rows_of(rng, "c", 17)), folder / "c.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "notes.txt").write_text("not read")
    return folder


@pytest.fixture(scope="module")
def two_processors() -> Iterator[None]:
    """Ray with two processors, whatever the machine has."""
    try:
        ray.init(
            "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
    except Exception as error:  # what a machine does not allow is many things
        pytest.skip(f"Ray cannot be started here: {error}")
    yield
    ray.shutdown()


def documents_in(folder: Path) -> list[Document]:
    return [item for file in find_files([str(folder)]) for item in read_file(file, Fields())]


def encoded_here(model: Path, folder: Path, index: Index) -> Retriever:
    """Index a corpus in this process."""
    retriever = Retriever(Encoder.load(model, threads=1), index)
    # Not `add`, which fits codes to the documents that come first: here as there all are at hand.
    index.add_documents(retriever.encode(documents_in(folder)))
    index.commit()
    return retriever


def config_of(model: Path, **settings: Any) -> IndexConfig:
    encoder = Encoder.load(model, threads=1)
    return IndexConfig(
        dim=encoder.dim, model=encoder.card.fingerprint, splitting=SPLITTING, **settings
    )


def encoded_without_ray(corpus: Path, into: Path, model: Path, datatype: str) -> None:
    begin(corpus, into, model, 99, datatype)
    target = target_at(str(into))
    job = target.read_job()
    assert job is not None
    target.complete(job, target.finished(job))


def begin(
    corpus: Path, into: object, model: Path, parts: int, datatype: str = "float32"
) -> list[str]:
    """Do what a driver does that is killed after some parts; returns their names."""
    files = find_files([str(corpus)])
    job = Job(config=config_of(model), fields=Fields(), datatype=datatype, size=SIZE, files=())
    surveys = [survey_file(file, job.fields, SIZE).parts for file in files]
    job = replace(
        job, files=tuple(JobFile(f, parts) for f, parts in zip(files, surveys, strict=True))
    )
    target_at(str(into)).write_job(job)
    encode = PartEncoder(job.to_text(), {"into": str(into)}, str(model), Workers())
    names = [part.name for part in job.parts()][:parts]
    rows = [
        row
        for number in range(len(files))
        for row in parts_of_file({"file": number, "parts": names}, job.to_text())
    ]
    return [json.loads(encode(row)["result"])[0] for row in rows]


# What is read


def test_lines_and_tables_are_read_alike(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rows_of(rng, "d", 700)  # more than is read of a table at once
    write_lines(tmp_path / "x.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    (lines,) = find_files([str(tmp_path / "x.jsonl")])
    (table,) = find_files([str(tmp_path / "x.parquet")])
    from_lines = list(read_file(lines, Fields()))
    from_table = [replace(d, source=lines.file.uri) for d in read_file(table, Fields())]
    assert from_lines == from_table
    assert from_lines[3].metadata == {"year": 1903}
    assert [d.document_id for d in read_file(table, Fields(""))][:2] == [
        "x.parquet:1",
        "x.parquet:2",
    ]


def test_cells_become_metadata(tmp_path: Path) -> None:
    import datetime

    path = tmp_path / "x.parquet"
    day = datetime.date(2024, 1, 31)
    row = {"_id": 7, "text": "x", "day": day, "gone": None, "deep": {"list": [day]}}
    table = pa.Table.from_pylist([row, {**row, "_id": 8, "gone": float("nan")}])
    pq.write_table(table, path)
    (file,) = find_files([str(path)])
    metadata = {"day": "2024-01-31", "deep": {"list": ["2024-01-31"]}}
    read = [(d.document_id, d.metadata) for d in read_file(file, Fields())]
    assert read == [("7", metadata), ("8", metadata)]
    pq.write_table(pa.Table.from_pylist([{"_id": "a", "text": "x", "raw": b"x"}]), path)
    (file,) = find_files([str(path)])
    with pytest.raises(CorpusError, match=r"x\.parquet, row 1: values must be .* got bytes"):
        list(read_file(file, Fields()))
    rows = {"_id": ["a", "b"], "text": ["x", None], "list": [[1.5, float("nan")], []]}
    pq.write_table(pa.table(rows), path)
    documents = read_file(find_files([str(path)])[0], Fields())
    assert next(documents).metadata == {"list": [1.5, None]}
    with pytest.raises(CorpusError, match=r"row 2: 'text' must be a string, got None"):
        next(documents)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            lambda: pa.table([["a"], ["x"], ["y"]], names=["_id", "text", "text"]),
            "has two columns named 'text'",
        ),
        (
            lambda: pa.table({"_id": ["a"], "text": ["x"], "day": pa.array([10**8], pa.date32())}),
            "cannot be read after row 0",
        ),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path: Path, table: Any, message: str) -> None:
    pq.write_table(table(), tmp_path / "x.parquet")
    with pytest.raises(CorpusError, match=rf"x\.parquet {message}"):
        list(read_file(find_files([str(tmp_path / "x.parquet")])[0], Fields()))


def test_links_are_followed_as_by_index(tmp_path: Path, corpus: Path) -> None:
    (corpus / "loop").symlink_to(corpus)
    assert len(find_files([str(corpus)])) == 3
    (corpus / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"gone\.jsonl: is a link that leads nowhere"):
        find_files([str(corpus)])


def test_parts_are_full_at_so_many_documents_or_characters() -> None:
    documents = [Document(str(n), "x" * length) for n, length in enumerate([5] * 5 + [99, 5, 10])]
    parts = list(in_parts(documents, PartSize(documents=3, characters=15)))
    lengths = [[len(document.text or "") for document in part] for part in parts]
    assert lengths == [[5, 5, 5], [5, 5], [99], [5, 10]]
    assert [document for part in parts for document in part] == documents
    for size in ((0, 5), (5, 0), (1.5, 5)):
        with pytest.raises(InvalidInputError, match="whole number >= 1"):
            PartSize(*size)  # type: ignore[arg-type]


def test_files_that_are_none(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(CorpusError, match="there is no file or folder"):
        find_files([str(tmp_path / "none")])
    with pytest.raises(CorpusError, match=r"must be \.jsonl, \.jsonl\.gz, \.parquet"):
        find_files([str(corpus / "notes.txt")])
    with pytest.raises(CorpusError, match=r"a\.jsonl is given twice"):
        find_files([str(corpus), str(corpus / "a.jsonl")])
    for address in ("nope://x", "s3://"):
        with pytest.raises(BackendError, match=f"{address} cannot be used"):
            find_files([address])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="a folder of such files"):
        find_files([str(tmp_path / "empty")])
    assert [file.name for file in find_files([str(corpus)])] == [
        "a.jsonl", "c.parquet", "deeper/b.jsonl.gz",
    ]  # fmt: skip
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and more")
    with pytest.raises(CorpusError, match=r"no\.parquet cannot be read after row 0"):
        list(read_file(find_files([str(tmp_path / "no.parquet")])[0], Fields()))


def test_a_file_that_changes_is_found_out(corpus: Path) -> None:
    (file,) = find_files([str(corpus / "a.jsonl")])
    with (corpus / "a.jsonl").open("a") as stream:
        stream.write("\n")
    with pytest.raises(CorpusError, match=r"a\.jsonl has changed since"):
        list(read_file(file, Fields()))


# With workers


@pytest.mark.usefixtures("two_processors")
def test_it_is_what_one_process_encodes(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = encode_corpus(
        [corpus], tmp_path / "encoded", model=tiny_model, datatype="float32", part_size=SIZE,
        splitting=SPLITTING, workers=Workers(number=2),
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    encoded = EncodedCorpus(tmp_path / "encoded")
    assert (report.encoded, report.documents) == (68, 68) == (68, len(encoded))
    assert seen[0] == (0, 68) and seen[-1] == (68, 68) and sorted(seen) == seen and len(seen) > 6
    with Index(dim=encoded.config.dim, config=config_of(tiny_model)) as here:
        retriever = encoded_here(tiny_model, corpus, here)
        index_encoded(encoded, tmp_path / "there.index")
        with Index.load(tmp_path / "there.index") as there:
            assert list(there) == list(here) == [document for document, _ in encoded.encoded()]
            assert (there.info().passages, there.info().tokens) == (report.passages, report.tokens)
            assert report.passages > report.documents
            for query in WORDS:
                (mine,) = retriever.retrieve([query], 20, parameters=EXACT)
                (theirs,) = Retriever(retriever.encoder, there).retrieve(
                    [query], 20, parameters=EXACT
                )
                assert mine == theirs  # to the last bit
        for document, passages in encoded.encoded():
            again = retriever.encode([document])[0].passages
            assert [(p.start, p.end) for p in passages] == [(p.start, p.end) for p in again]
            for mine, other in zip(passages, again, strict=True):
                np.testing.assert_array_equal(mine.embedding, other.embedding)


def test_float16_costs_next_to_nothing(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    for datatype in ("float16", "float32"):
        encoded_without_ray(corpus, tmp_path / datatype, tiny_model, datatype)
    rounded, exact = (EncodedCorpus(tmp_path / name).encoded() for name in ("float16", "float32"))
    for (document, passages), (other, others) in zip(rounded, exact, strict=True):
        assert document == other
        for mine, theirs in zip(passages, others, strict=True):
            np.testing.assert_allclose(mine.embedding, theirs.embedding, atol=2**-11)
            cosines = (mine.embedding * theirs.embedding).sum(axis=1)
            np.testing.assert_allclose(cosines, 1, atol=1e-3)


def check_whole(encoded: EncodedCorpus, documents: Sequence[Document]) -> None:
    assert [document for document, _ in encoded.encoded()] == list(documents)
    tokens = sum(len(p.embedding) for _, parts in encoded.encoded() for p in parts)
    assert encoded.counts.tokens == tokens > 0


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to find workers")
@pytest.mark.usefixtures("two_processors")
def test_a_killed_worker_loses_and_doubles_nothing(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if done and len(killed) < 2:
            alive = [pid for pid in workers_of_ray() if pid not in killed]
            if alive:
                killed.append(alive[0])
                os.kill(alive[0], signal.SIGKILL)

    report = encode_corpus(
        [corpus], tmp_path / "encoded", model=tiny_model, part_size=PartSize(2, 2000),
        workers=Workers(number=2), progress=kill,
    )  # fmt: skip
    assert killed and report.documents == report.encoded == 68
    check_whole(EncodedCorpus(tmp_path / "encoded"), documents_in(corpus))


@pytest.mark.shared
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to find workers")
@pytest.mark.usefixtures("two_processors")
def test_real_texts_survive_a_killed_worker(tmp_path: Path) -> None:
    paths = []
    for name in ("acl", "tldr", "debian"):
        with gzip.open(SHARED / "text" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
            lines = [line for line, _ in zip(stream, range(60), strict=False)]
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(lines), encoding="utf-8")
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if done and not killed:
            killed.extend(workers_of_ray()[:1])
            os.kill(killed[0], signal.SIGKILL)

    fields = Fields("", "passage", "query")
    encode_corpus(
        paths, tmp_path / "encoded", model="tiny", fields=fields, part_size=PartSize(15, 100_000),
        workers=Workers(number=2), progress=kill,
    )  # fmt: skip
    files = find_files([str(path) for path in paths])
    assert killed
    check_whole(
        EncodedCorpus(tmp_path / "encoded"), [d for file in files for d in read_file(file, fields)]
    )


@pytest.mark.usefixtures("two_processors")
@pytest.mark.parametrize("kind", ["parquet", pytest.param("lance", marks=needs_lance)])
def test_what_is_finished_is_not_done_again(
    corpus: Path, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    into = str(tmp_path / "encoded") if kind == "parquet" else f"lance://{tmp_path}/papers"
    before = begin(corpus, into, tiny_model, 5)
    folder = tmp_path / ("encoded" if kind == "parquet" else "papers.encoding") / "parts"
    times = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert len(times) == len(before) == 5

    def unchanged(done: int, total: int) -> None:
        assert times.items() <= {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}.items()

    options: dict[str, Any] = {
        "model": tiny_model, "datatype": "float32", "part_size": SIZE, "splitting": SPLITTING,
    }  # fmt: skip
    report = encode_corpus([corpus], into, progress=unchanged, **options)
    assert 0 < report.encoded < report.documents == 68
    done: list[tuple[int, int]] = []
    again = encode_corpus([corpus], into, progress=lambda *n: done.append(n), **options)
    assert again == replace(report, encoded=0) and done == [(68, 68)]
    if kind == "parquet":
        check_whole(EncodedCorpus(into), documents_in(corpus))
    else:
        with open_backend(into) as backend:
            assert len(backend) == 68 and all(
                d.document_id in backend for d in documents_in(corpus)
            )


@needs_lance
@pytest.mark.usefixtures("two_processors")
def test_a_table_ranks_as_the_index_does(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    address = f"lance://{tmp_path}/papers"
    encode_corpus(
        [corpus], address, model=tiny_model, datatype="float32", part_size=SIZE,
        splitting=SPLITTING, workers=Workers(number=2),
    )  # fmt: skip
    # What a worker wrote before it died without a note of it.
    assert not list((tmp_path / "papers.encoding").glob("parts/*"))
    with Index(dim=Encoder.load(tiny_model).dim, config=config_of(tiny_model)) as here:
        retriever = encoded_here(tiny_model, corpus, here)
        with open_backend(address) as backend:
            there = Retriever(retriever.encoder, backend)
            exact = {d.document_id: retriever.encode([d])[0].passages for d in documents_in(corpus)}
            for query in WORDS:
                (hits,) = there.retrieve([query], 68)
                asked = retriever.encoder.encode_query([query])[0]
                best = {
                    name: max(float((asked @ p.embedding.T).max(axis=1).sum()) for p in parts)
                    for name, parts in exact.items()
                }
                assert {hit.document_id for hit in hits} == set(best)
                for hit in hits:
                    assert hit.score == pytest.approx(best[hit.document_id], abs=1e-4)
            (hits,) = there.retrieve(["bees"], where={"year": {"$lt": 1905}})
            assert {hit.metadata["year"] for hit in hits} == set(range(1900, 1905))
        # The same documents, pushed: those that decode to other vectors are written again.
        report = push(here, address)
        assert (report.documents, report.deleted) == (68, 0)
        with open_backend(address) as backend:
            assert len(backend) == 68


@pytest.mark.usefixtures("two_processors")
def test_relative_paths_mean_the_same_to_workers(
    corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, tmp_path / "my-model")
    report = encode_corpus(["corpus"], "encoded", model="my-model")
    assert len(EncodedCorpus(tmp_path / "encoded")) == report.documents == 68


@pytest.mark.usefixtures("two_processors")
def test_what_a_worker_raises_of_its_own_is_one_line() -> None:
    def fails(row: Any) -> Any:
        raise MemoryError("no room")

    with pytest.raises(ClusterError, match="^a worker failed: MemoryError: no room$"):
        list(workers._results(ray.data.from_items([1]).map(fails)))


@pytest.mark.usefixtures("two_processors")
def test_what_is_wrong_is_told_before_anything_is_encoded(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    into = tmp_path / "encoded"
    write_lines(corpus / "more.jsonl", [{"_id": "new", "text": "x"}, {"_id": "b7", "text": "y"}])
    with pytest.raises(
        CorpusError,
        match=r"'b7' twice, in deeper/b\.jsonl\.gz \(document 8\) and more\.jsonl \(document 2\)",
    ):
        encode_corpus([corpus], into, model=tiny_model)
    (corpus / "more.jsonl").write_text('{"_id": "new", "text": "x"}\n{"_id": "z"}\n')
    with pytest.raises(CorpusError, match=r"more\.jsonl, line 2: no key 'text'"):
        encode_corpus([corpus], into, model=tiny_model)
    (corpus / "more.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match=r"there are no documents in more\.jsonl"):
        encode_corpus([corpus / "more.jsonl"], into, model=tiny_model)
    assert not into.exists()


@pytest.mark.usefixtures("two_processors")
def test_another_model_on_a_worker_is_refused(
    corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocket_colbert.distributed import encoding

    def encode_parts(job: Job, target: Any, model: str, *rest: Any) -> Any:
        return original(job, target, "tiny", *rest)

    original = encoding.encode_parts
    monkeypatch.setattr(encoding, "encode_parts", encode_parts)
    with pytest.raises(InvalidInputError, match="every machine must have the same model"):
        encode_corpus([corpus], tmp_path / "encoded", model=tiny_model)


@pytest.mark.usefixtures("two_processors")
def test_another_job_at_the_same_place_is_refused(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    into = tmp_path / "encoded"
    begin(corpus, into, tiny_model, 1)
    same: dict[str, Any] = {
        "model": tiny_model, "datatype": "float32", "part_size": SIZE, "splitting": SPLITTING,
    }  # fmt: skip
    for name, other in (
        ("model", {"model": "tiny"}), ("settings", {"splitting": Splitting()}),
        ("fields", {"fields": Fields("")}), ("datatype", {"datatype": "float16"}),
        ("part size", {"part_size": PartSize(9, 9)}),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=f"started with other {name}"):
            encode_corpus([corpus], into, **(same | other))
    with pytest.raises(InvalidInputError, match=r"other files: it was .*c\.parquet"):
        encode_corpus([corpus / "a.jsonl"], into, **same)
    with pytest.raises(InvalidInputError, match="datatype must be 'float32' or 'float16'"):
        encode_corpus([corpus], into, **(same | {"datatype": "int8"}))
    os.utime(corpus / "a.jsonl", (1, 1))
    with pytest.raises(InvalidInputError, match=r"other files: it was .*a\.jsonl"):
        encode_corpus([corpus], into, **same)


@pytest.mark.usefixtures("two_processors")
def test_a_place_with_something_else_is_refused(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="already exists and is not empty"):
        encode_corpus([corpus], corpus, model=tiny_model)
    with pytest.raises(InvalidInputError, match="encode into a folder and `push` that"):
        encode_corpus([corpus], "qdrant://localhost/papers", model=tiny_model)
    with pytest.raises(InvalidInputError, match="approximate is for LanceDB tables"):
        encode_corpus([corpus], tmp_path / "x", model=tiny_model, approximate=True)
    assert not (corpus / "job.json").exists()


@pytest.mark.usefixtures("two_processors")
def test_two_jobs_at_one_place_are_found_out(
    corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocket_colbert.distributed import encoding

    into, survey = tmp_path / "encoded", encoding.survey

    def slow(*arguments: Any) -> Any:
        found = survey(*arguments)
        begin(corpus, into, tiny_model, 0)  # another one, meanwhile
        return found

    monkeypatch.setattr(encoding, "survey", slow)
    with pytest.raises(InvalidInputError, match="started with other settings: splitting"):
        encode_corpus([corpus], into, model=tiny_model, datatype="float32", part_size=SIZE)
    monkeypatch.undo()

    def replaced(done: int, total: int) -> None:
        (into / "job.json").unlink(missing_ok=True)

    with pytest.raises(BackendError, match="another job has started"):
        encode_corpus(
            [corpus], into, model=tiny_model, datatype="float32", part_size=SIZE,
            splitting=SPLITTING, progress=replaced,
        )  # fmt: skip
    assert not (into / "complete.json").exists()


@pytest.mark.usefixtures("two_processors")
def test_settings_that_fail_do_not_claim_a_folder(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="max_tokens must be above"):
        encode_corpus([corpus], tmp_path / "x", model=tiny_model, splitting=Splitting(max_tokens=2))
    assert not (tmp_path / "x").exists()


def test_a_cluster_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        pytest.raises(ClusterError, match="Ray cannot be reached at 127.0.0.1:9"),
        workers.cluster(Workers(address="127.0.0.1:9")),
    ):
        pass


# Without workers


def test_a_corpus_that_is_not_whole_is_not_read(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackendNotFoundError, match="no encoded corpus"):
        EncodedCorpus(tmp_path / "none")
    begin(corpus, tmp_path / "encoded", tiny_model, 3)
    with pytest.raises(BackendError, match="is incomplete"):
        EncodedCorpus(tmp_path / "encoded")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoded corpus, made without Ray."""
    folder = tmp_path_factory.mktemp("finished")
    rng, model = np.random.default_rng(3), Path(__file__).parents[1] / "data" / "tiny-colbert"
    write_lines(folder / "corpus" / "a.jsonl", rows_of(rng, "a", 20))
    encoded_without_ray(folder / "corpus", folder / "encoded", model, "float32")
    return folder / "encoded"


@pytest.fixture
def encoded(finished: Path, tmp_path: Path) -> Path:
    """A copy of an encoded corpus."""
    return Path(shutil.copytree(finished, tmp_path / "encoded"))


def rewritten(path: Path, change: Any) -> None:
    """Rewrite a part with other contents and the same description."""
    table = pq.read_table(path)
    rows = change(table.to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def resized(folder: Path) -> None:
    """Have the list of parts say the sizes that they have."""
    values = json.loads((folder / "complete.json").read_bytes())
    for name, counts in values["parts"].items():
        counts[3] = (folder / "parts" / f"{name}.parquet").stat().st_size
    (folder / "complete.json").write_text(json.dumps(values))


def first_row(**cells: Any) -> Any:
    return lambda rows: [{**rows[0], **cells}, *rows[1:]]


def passage_row(end: int, tokens: int) -> Any:
    return first_row(passages=[{"start": 0, "end": end, "tokens": tokens, "readable": 1.0}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "not hold as many documents as it says"),
        (passage_row(10**6, 1), "outside its text"),
        (passage_row(1, 10**6), "its passages 1000000"),
        (passage_row(1, -1), "outside its text"),
        (first_row(passages=[{"start": 0, "end": 1, "tokens": 1}]), "damaged"),
        (first_row(passages=[]), "its passages 0"),
        (first_row(passages=None), "damaged"),
        (first_row(document_id=None), "a document has no id"),
        (first_row(metadata="no json"), "damaged"),
        (first_row(metadata="[" * 9999), "damaged"),
        (first_row(metadata='{"x": NaN}'), "damaged"),
        (lambda rows: [{**rows[0], "vectors": [[float("inf")] * 8] * 3}, *rows[1:]], "not finite|"),
        (lambda rows: [{**rows[0], "vectors": [None] * 3}, *rows[1:]], "components are missing"),
    ],
)  # fmt: skip
def test_a_forged_part_is_an_error(encoded: Path, change: Any, message: str) -> None:
    part = min((encoded / "parts").iterdir())
    dim = pq.read_table(part).schema.field("vectors").type.value_type.list_size

    def fitting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**row, "vectors": [v and (v * dim)[:dim] for v in row["vectors"]]}
            for row in change(rows)
        ]

    rewritten(part, fitting)
    resized(encoded)
    with pytest.raises(BackendError, match=message) as raised:
        list(EncodedCorpus(encoded).encoded())
    assert part.name in str(raised.value)


def test_a_damaged_file_is_an_error(encoded: Path) -> None:
    part = min((encoded / "parts").iterdir())
    content = part.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        part.write_bytes(damaged)
        try:
            read = [document for document, _ in EncodedCorpus(encoded).encoded()]
        except BackendError as error:
            assert part.name in str(error)
        else:  # where nothing is that counts, such as names of the library that wrote it
            assert len(read) == 20
    part.write_bytes(content[:-10])
    with pytest.raises(
        BackendError, match=f"must have {len(content)} bytes, got {len(content) - 10}"
    ):
        EncodedCorpus(encoded)
    part.unlink()
    with pytest.raises(BackendError, match="got no file"):
        EncodedCorpus(encoded)


@pytest.mark.parametrize("name", ["job.json", "complete.json"])
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "parts": 3}'])
def test_a_damaged_description_is_an_error(encoded: Path, name: str, content: str) -> None:
    (encoded / name).write_text(content)
    with pytest.raises(BackendError, match=f"{name} is damaged"):
        EncodedCorpus(encoded)
    (encoded / "job.json").write_text('{"format": 9}')
    with pytest.raises(BackendError, match="has format 9, this release reads 1"):
        EncodedCorpus(encoded)


def test_a_part_of_another_job_is_an_error(encoded: Path) -> None:
    first, second = sorted((encoded / "parts").iterdir())[:2]
    shutil.copy(first, second)
    resized(encoded)
    with pytest.raises(BackendError, match="belongs to another job"):
        list(EncodedCorpus(encoded).encoded())


def test_indexing_goes_on_where_it_was(
    encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocket_colbert.distributed import collecting

    monkeypatch.setattr(collecting, "_DOCUMENTS", 4)
    monkeypatch.setattr(collecting, "_COMMIT_TOKENS", 1)
    corpus = EncodedCorpus(encoded)

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 20
        if done == 12:
            raise Stop

    with pytest.raises(Stop):
        index_encoded(corpus, tmp_path / "x.index", progress=stop)
    with Index.load(tmp_path / "x.index") as index:
        assert len(index) == 12
    index_encoded(corpus, tmp_path / "x.index")
    with Index.load(tmp_path / "x.index") as index:
        assert list(index) == [document for document, _ in corpus.encoded()]
    with pytest.raises(InvalidInputError, match="codes"):
        index_encoded(corpus, tmp_path / "y.index", codes="int3")


@pytest.mark.parametrize("change", ["text", "metadata", "more"])
def test_an_index_of_other_documents_is_left_alone(
    encoded: Path, tmp_path: Path, change: str
) -> None:
    corpus, folder = EncodedCorpus(encoded), tmp_path / "x.index"
    document, passages = next(corpus.encoded())
    other = {
        "text": replace(document, text="other " * 200),
        "metadata": replace(document, metadata={"year": 1900.0}),
        "more": replace(document, document_id="more"),
    }[change]
    with Index.create(folder, corpus.config) as index:
        index.add(
            [other.document_id], [passages], texts=[other.text], titles=[other.title],
            metadata=[other.metadata], sources=[other.source],
        )  # fmt: skip
        index.commit()
    with pytest.raises(IndexConflictError, match=f"other documents, such as '{other.document_id}'"):
        index_encoded(corpus, folder)
    with Index.load(folder) as index:
        assert list(index) == [other]


def test_a_pushed_corpus_is_that_of_the_index(encoded: Path, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_client", reason="needs the 'qdrant' extra")
    corpus, address = EncodedCorpus(encoded), f"qdrant://{tmp_path / 'q'}/papers"
    assert push(corpus, address).written == 20
    assert push(corpus, address).unchanged == 20
    with Index(dim=corpus.config.dim, config=corpus.config) as index:
        index.add(["extra"], [next(corpus.encoded())[1]], texts=["x" * 999])
        index.commit()
        assert push(index, address).documents == 1
    report = push(corpus, address)
    assert (report.written, report.documents) == (20, 20) and report.deleted > 0
    with open_backend(address) as backend:
        for document, passages in corpus.encoded():
            assert backend.get(document.document_id) == document
            for mine, other in zip(
                backend.passages(document.document_id), passages, strict=True
            ):  # fmt: skip
                np.testing.assert_array_equal(mine.embedding, other.embedding)


def test_no_worker_fits_what_the_cluster_has_not(
    corpus: Path, tiny_model: Path, tmp_path: Path, two_processors: None
) -> None:
    with pytest.raises(ClusterError, match="each needs 64 processors, and the cluster has 2"):
        encode_corpus(
            [corpus], tmp_path / "x", model=tiny_model, workers=Workers(threads=64)
        )  # fmt: skip
    for wrong in ({"number": 0}, {"threads": 0}, {"threads": 1.5}):
        with pytest.raises(InvalidInputError, match="whole number >= 1"):
            Workers(**wrong)  # type: ignore[arg-type]


def test_the_commands(corpus: Path, tiny_model: Path, tmp_path: Path, two_processors: None) -> None:
    def run(*arguments: object) -> Any:
        done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    into = tmp_path / "encoded"
    options = ("-m", tiny_model, "--part-documents", 9, "--workers", 2)
    assert run("encode-corpus", corpus, "--into", into, *options)["encoded"] == 68
    assert run("encode-corpus", corpus, "--into", into, *options)["encoded"] == 0
    made = run("collect", into, "--into", tmp_path / "x.index", "--codes", "int8")
    assert made["documents"] == 68
    assert run("search", tmp_path / "x.index", "bees", "-k", 1, "-m", tiny_model)["document_id"]
    if importlib.util.find_spec("qdrant_client"):
        address = f"qdrant://{tmp_path / 'q'}/papers"
        assert run("push", into, "--to", address)["documents"] == 68
    wrong = CliRunner().invoke(main, ["collect", str(corpus), "--into", str(tmp_path / "y")])
    assert wrong.exit_code == 2 and "there is no encoded corpus" in wrong.output


MODULES = sorted(path.stem for path in Path(distributed.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize(
    ("package", "module", "extra"),
    [
        ("ray", "workers", "ray"),
        *(("pyarrow", module, "ray") for module in MODULES),
        pytest.param("lance", "lance_table", "ray-lance", marks=needs_lance),
    ],
)
def test_a_missing_extra_names_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, package: str, module: str, extra: str
) -> None:
    if package == "lance":
        importlib.import_module("pocket_colbert.backends.lance")  # what lancedb imports, it has
    monkeypatch.setitem(sys.modules, package, None)
    for name in [n for n in sys.modules if n.startswith("pocket_colbert.distributed")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(OptionalDependencyError, match=rf"pocket-colbert\[{extra}\]"):
        importlib.import_module(f"pocket_colbert.distributed.{module}")

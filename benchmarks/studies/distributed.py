"""What more workers of Ray bring, and whether all is there after workers were killed.

    python -m benchmarks.studies.distributed FILE.jsonl.gz ... [--texts 2000] [--workers 1 2] \
        [--model small] [--json FILE]
    python -m benchmarks.studies.distributed FILE.jsonl.gz ... --kill-every 20000 \
        [--model tiny] [--into FOLDER]

FILEs are JSON lines with "passage" as text and "query" as title, of which the first `--texts` are
taken in turn. The first form encodes them in this process, with one thread and with one a core,
and then with each number of workers, each a process with one thread. Texts a second are counted
from the first finished part to the last, so that starting Ray and loading models, which are
reported beside it, do not count. The floor is one thread in this process, times the workers.

The second form encodes all texts, kills a worker (signal 9) each time so many more are done, and
compares what was written with what was read: ids, their order, and their texts.
"""

from __future__ import annotations

import argparse
import gzip
import os
import signal
import tempfile
import time
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tests.support.ray_workers import workers_of_ray

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import seconds_of
from pocket_colbert import Encoder
from pocket_colbert.distributed import EncodedCorpus, PartSize, Workers, encode_corpus
from pocket_colbert.distributed.corpus_sources import find_files, read_file
from pocket_colbert.ingest.rows import Fields

FIELDS = Fields("", "passage", "query")
PART = PartSize(documents=50, characters=2_000_000)


def sample(paths: list[Path], number: int, folder: Path) -> Path:
    """Write the first texts of each file, in turn, to one file."""
    streams = [gzip.open(path, "rt", encoding="utf-8") for path in paths]
    path = folder / "sample.jsonl"
    path.write_text("".join(islice(chain.from_iterable(zip(*streams, strict=False)), number)))
    return path


def here(path: Path, model: str, threads: int) -> dict[str, Any]:
    """Encode in this process."""
    encoder = Encoder.load(model, threads=threads)
    documents = list(read_file(find_files([str(path)])[0], FIELDS))
    texts, titles = [d.text or "" for d in documents], [d.title for d in documents]
    encoder.encode_passages(texts[:20], titles=titles[:20])
    seconds = seconds_of(lambda: encoder.encode_passages(texts, titles=titles))
    return {
        "how": f"this process, {threads} threads",
        "texts_a_second": len(texts) / seconds,
    }


def with_workers(path: Path, model: str, number: int) -> dict[str, Any]:
    """Encode with so many workers."""
    marks: list[tuple[int, float]] = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "encoded"
        report = encode_corpus(
            [path], into, model=model, fields=FIELDS, part_size=PART,
            workers=Workers(number=number),
            progress=lambda done, total: marks.append((done, time.perf_counter())),
        )  # fmt: skip
        size = sum(file.stat().st_size for file in into.rglob("*") if file.is_file())
    whole = time.perf_counter() - start
    first, last = marks[1], marks[-1]
    return {
        "how": f"{number} workers",
        "texts_a_second": (last[0] - first[0]) / (last[1] - first[1]),
        "seconds_before_the_first_part": first[1] - start,
        "seconds": whole,
        "bytes_a_text": size / report.documents,
        "bytes_a_token_vector": size / report.tokens,
    }


def survive(paths: list[Path], model: str, every: int, into: Path) -> dict[str, Any]:
    """Encode all, kill workers on the way, and compare with what was read."""
    killed: list[tuple[int, int]] = []
    start, told = time.perf_counter(), 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done // every > told // every and (alive := workers_of_ray()):
            os.kill(alive[0], signal.SIGKILL)
            killed.append((done, alive[0]))
        if done // 5000 > told // 5000:
            print(f"{done} of {total} after {time.perf_counter() - start:.0f} s", flush=True)
        told = done

    report = encode_corpus(paths, into, model=model, fields=FIELDS, progress=progress)
    files = find_files([str(path) for path in paths])
    read = (document for file in files for document in read_file(file, FIELDS))
    same = sum(
        document == other
        for document, (other, _) in zip(read, EncodedCorpus(into).encoded(), strict=True)
    )
    return {
        "documents": report.documents,
        "encoded_now": report.encoded,
        "token_vectors": report.tokens,
        "the_same_in_order": same,
        "killed_after": [done for done, _ in killed],
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--model", default="small")
    parser.add_argument("--kill-every", type=int)
    parser.add_argument("--into", type=Path, help="keep what is encoded, and go on with it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    run = Run.begin("distributed", arguments)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.kill_every:
            into = arguments.into or Path(folder) / "encoded"
            found: Any = survive(arguments.files, arguments.model, arguments.kill_every, into)
        else:
            path = sample(arguments.files, arguments.texts, Path(folder))
            cores = os.cpu_count() or 1
            found = [here(path, arguments.model, threads) for threads in sorted({1, cores})]
            found += [with_workers(path, arguments.model, n) for n in arguments.workers]
    print(table(found))
    run.save(arguments.json, found)


def table(results: Any) -> str:
    """Return a row for each way to encode, or what came of killing workers."""
    if isinstance(results, dict):
        return markdown(("", ""), [(key, str(value)) for key, value in results.items()])
    first = results[0]["texts_a_second"]
    heads = ("", "texts/s", "x one thread", "before the first part, s", "bytes a token vector")
    rows = [
        (
            row["how"], decimals(row["texts_a_second"], 1),
            decimals(row["texts_a_second"] / first, 2),
            decimals(row.get("seconds_before_the_first_part"), 1),
            decimals(row.get("bytes_a_token_vector"), 0),
        )
        for row in results
    ]  # fmt: skip
    return markdown(heads, rows)


if __name__ == "__main__":
    main()

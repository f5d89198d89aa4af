"""Damaged and hostile indexes: they work, and rightly, or raise the package's own errors."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path

from pocket_colbert import Hit, Index, PocketColbertError
from pocket_colbert.config import CandidateSource
from tests.support.hostile_index import (
    QUERY,
    SEARCHES,
    Files,
    Fuzzer,
    write_to,
)
from tests.tools.attack.mutants import try_all
from tests.tools.attack.tally import Tally

SECONDS = 60.0

Answers = list[list[tuple[str, str | None]]]


def open_index_mutants(tally: Tally, tries: int, seed: int, temporary: Path) -> None:
    """Open, search and check indexes with lists and with graphs; every fifth is written to, too."""
    sources: tuple[CandidateSource, ...] = ("lists", "usearch")
    fuzzers = []
    for source in sources:
        folder = temporary / "index mutants" / source
        folder.mkdir(parents=True)
        fuzzers.append(Fuzzer(folder, source))
    rights = [_answers(fuzzer.folder) for fuzzer in fuzzers]

    def attempt(number: int) -> tuple[str, str | None]:
        fuzzer, right = fuzzers[number % 2], rights[number % 2]
        what, files = fuzzer.input((seed, number))
        problem = fuzzer.problem(files, check=number % 4 == 0, seconds=SECONDS)
        if problem is None and what.startswith("damaged"):
            problem = _is_wrong(fuzzer, files, right)
        if problem is None and number % 5 == 0:
            problem = _written(fuzzer, files, temporary / "copy")
        kind = what.split()[0]
        return (f"{kind}: problem" if problem else kind), problem and f"{what}: {problem}"

    try_all(tally, tries, attempt, temporary)
    left = {path.name for path in temporary.iterdir()}
    if not left <= {"index mutants", "copy", "output"}:
        tally.fail(f"files were made outside: {left}")


def _answers(folder: Path) -> Answers:
    with Index.load(folder, threads=1) as index:
        return [_shown(index.search([QUERY], 5, **search)[0]) for search in SEARCHES]


def _shown(hits: list[Hit]) -> list[tuple[str, str | None]]:
    return [(hit.document_id, hit.text) for hit in hits]


def _is_wrong(fuzzer: Fuzzer, files: Files, right: Answers) -> str | None:
    """Return what is wrong with the answers of a folder that was damaged by chance."""
    for path, content in files.items():
        fuzzer.put(path, content)
    try:
        found = _answers(fuzzer.folder)
    except PocketColbertError:
        return None
    except Exception:
        return traceback.format_exc()
    finally:
        for path in files:
            fuzzer.put(path, fuzzer.sound[path])
    return None if found == right else f"it answers {found}, not {right}"


def _written(fuzzer: Fuzzer, files: Files, folder: Path) -> str | None:
    """Write to a folder, and return what goes wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(fuzzer.folder, folder)
    for path, content in files.items():
        (folder / path).write_bytes(content)
    try:
        write_to(folder)
    except Exception:
        return traceback.format_exc()
    return None

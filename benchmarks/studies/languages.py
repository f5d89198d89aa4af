"""How well questions in each language find their passage: by meaning, by keywords, and by default.

    python -m benchmarks.harness.translated_documentation PAGES
    python -m benchmarks.studies.languages TEXTS/debian-translations.jsonl.gz PAGES/*.jsonl \
        --json benchmarks/results/languages.json

A line of a file (.jsonl, .jsonl.gz) has `lang`, `query` and `passage`; the passage is what the
query is to find. A file (.json) in the form of SQuAD has questions over paragraphs; its name is
taken for the language.

"by meaning" is MaxSim alone, "keywords" BM25 alone as `hybrid="keywords", word_starts=True` has
it, and "default" what a `Retriever` does by itself. BM25 is a plain one beside them, with Lucene's
formula (k1 1.5, b .75), over words in small letters, and over pairs of characters where a language
is written without spaces: the one that a search engine has without rules for the language.

For the mixed collection, passages of all languages are put beside English ones, a few of each, and
every query of those is asked of all of it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.results import Run
from benchmarks.harness.tables import markdown
from pocket_colbert import (
    Document,
    Encoder,
    Index,
    IndexConfig,
    LanguageWarning,
    Query,
    Retriever,
    SearchParameters,
)

K = 10
ENGLISH = ("-C", "-en")
WAYS = {
    "by meaning": SearchParameters(mode="exact", hybrid="off"),
    "keywords": SearchParameters(mode="exact", hybrid="keywords", word_starts=True),
    "default": SearchParameters(mode="exact"),
}
_WORD = re.compile(r"[\w\u0300-\u036f\u0900-\u0fff\u1000-\u109f\u1780-\u17ff]+")
_RUN = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+"
)

Pair = tuple[str | None, str]
"""A query, None where there is none, and its passage."""


def read(file: Path) -> Iterator[tuple[str, Pair]]:
    """Iterate over languages and pairs of a file."""
    if file.suffix == ".json":
        for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                for item in paragraph["qas"]:
                    yield file.stem, (item["question"], paragraph["context"])
        return
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["lang"], (row["query"], row["passage"])


def sample(pairs: Sequence[Pair], queries: int, passages: int) -> tuple[list[str], list[Any]]:
    """Return passages, and queries with the number of the passage that each is to find.

    Of queries that are asked twice, one stays; the seed is fixed.
    """
    order = random.Random(0).sample(range(len(pairs)), len(pairs))
    numbers: dict[str, int] = {}
    asked: dict[str, int] = {}
    for query, passage in (pairs[n] for n in order):
        if passage not in numbers and (len(numbers) == passages or query in asked):
            continue
        number = numbers.setdefault(passage, len(numbers))
        if query is not None and len(asked) < queries:
            asked.setdefault(query, number)
    return list(numbers), list(asked.items())


def words(text: str) -> list[str]:
    """Return the words of a text as the plain BM25 has them."""
    found = []
    for word in _WORD.findall(text.lower()):
        done = 0
        for run in _RUN.finditer(word):
            found += [word[done : run.start()]] * (run.start() > done)
            pairs = max(len(run.group()) - 1, 1)
            found += [run.group()[n : n + 2] for n in range(pairs)]
            done = run.end()
        found += [word[done:]] * (done < len(word))
    return found


def plain_bm25(passages: Sequence[str]) -> Callable[[str], NDArray[np.float64]]:
    """Return what scores all passages for a query."""
    counts = [Counter(words(passage)) for passage in passages]
    lengths = np.array([sum(count.values()) for count in counts], float)
    having: dict[str, list[int]] = defaultdict(list)
    for number, count in enumerate(counts):
        for word in count:
            having[word].append(number)
    norms = 1.5 * (0.25 + 0.75 * lengths / lengths.mean())

    def score(query: str) -> NDArray[np.float64]:
        scores = np.zeros(len(passages))
        for word in set(words(query)) & having.keys():
            numbers = having[word]
            rarity = np.log(1 + (len(passages) - len(numbers) + 0.5) / (len(numbers) + 0.5))
            times = np.array([counts[n][word] for n in numbers], float)
            scores[numbers] += rarity * times * 2.5 / (times + norms[numbers])
        return scores

    return score


def gain(rank: int | None) -> float:
    """Return the nDCG@10 of a query with one right passage, found at a rank from 0."""
    return 0.0 if rank is None or rank >= K else 1 / float(np.log2(rank + 2))


def measure(
    encoder: Encoder, passages: Sequence[str], queries: Sequence[tuple[str, int]]
) -> dict[str, list[float]]:
    """Return the nDCG@10 of each query, by each way to search and by the plain BM25."""
    index = Index(encoder.dim, config=IndexConfig(dim=encoder.dim), threads=encoder.threads)
    retriever = Retriever(encoder, index)
    retriever.add([Document(str(number), text) for number, text in enumerate(passages)])
    asked: list[Query] = [encoder.query(query) for query, _ in queries]
    found: dict[str, list[float]] = {}
    for name, parameters in WAYS.items():
        hits = retriever.retrieve(asked, K, parameters=parameters)
        ranks = [[int(hit.document_id) for hit in of_query] for of_query in hits]
        found[name] = [
            gain(ids.index(right) if right in ids else None)
            for ids, (_, right) in zip(ranks, queries, strict=True)
        ]
    score = plain_bm25(passages)
    found["BM25"] = []
    for query, right in queries:
        scores = score(query)
        better = int((scores > scores[right]).sum() + (scores[:right] == scores[right]).sum())
        found["BM25"].append(gain(better if scores[right] > 0 else None))
    index.close()
    return found


def mixed(
    parts: Mapping[str, tuple[list[str], list[Any]]], few: int
) -> tuple[list[str], dict[str, list[tuple[str, int]]]]:
    """Put a few passages of each language beside all of those in English."""
    passages: list[str] = []
    queries: dict[str, list[tuple[str, int]]] = {}
    for name, (texts, asked) in parts.items():
        numbers = range(len(texts) if name.endswith(ENGLISH) else min(few, len(texts)))
        queries[name] = [(query, len(passages) + n) for query, n in asked if n in numbers]
        passages += [texts[n] for n in numbers]
    return passages, queries


def table(results: Mapping[str, Any]) -> str:
    """Return the tables."""
    names = ("BM25", "by meaning", "keywords", "default")
    tables = []
    for part, heads in (("apart", "collection"), ("mixed", "queries, of all languages at once")):
        rows = [
            (
                name,
                str(int(item["queries"])),
                *(f"{item[way]:.3f}" for way in names),
                f"{item['default'] - item['BM25']:+.3f}",
            )
            for name, item in results[part].items()
        ]
        tables.append(markdown((heads, "queries", *names, "default - BM25"), rows))
    return "\n\n".join(tables)


def means(found: Mapping[str, Sequence[float]], part: slice) -> dict[str, float]:
    """Return the means of some queries, and how many there are."""
    values = {name: float(np.mean(gains[part])) for name, gains in found.items()}
    return values | {"queries": float(len(found["BM25"][part]))}


def main() -> None:
    """Encode, search, judge; print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--model", default="small")
    parser.add_argument("--queries", type=int, default=300, help="At most so many a language.")
    parser.add_argument("--passages", type=int, default=3000, help="At most so many a language.")
    parser.add_argument("--characters", type=int, default=1500, help="At most so many a passage.")
    parser.add_argument("--few", type=int, default=30, help="Of a language among English.")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    warnings.simplefilter("ignore", LanguageWarning)
    run = Run.begin("languages", options)
    pairs: dict[str, list[Pair]] = defaultdict(list)
    for file in options.files:
        source = file.name.partition(".")[0].partition("-")[0]
        for language, (query, passage) in read(file):
            pairs[f"{source}-{language}"].append((query, passage[: options.characters]))
    parts = {
        name: sample(found, options.queries, options.passages) for name, found in pairs.items()
    }
    encoder = Encoder.load(options.model)
    apart = {}
    for name, (passages, queries) in parts.items():
        apart[name] = means(measure(encoder, passages, queries), slice(None))
        print(name, apart[name], flush=True)
    texts, asked = mixed(parts, options.few)
    together = measure(encoder, texts, [item for each in asked.values() for item in each])
    beside, first = {}, 0
    for name, each in asked.items():
        if each:
            beside[name] = means(together, slice(first, first + len(each)))
        first += len(each)
    results = {"apart": apart, "mixed": beside}
    print(table(results))
    run.save(options.json, results)


if __name__ == "__main__":
    main()

"""Node finds in a site what Python finds in its index: exact, approximate and with filters."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever, SearchParameters
from pocket_colbert.config import Codes, Pruning, Splitting
from pocket_colbert.site.writer import write_site
from pocket_colbert.types import Hit, Section
from tests.support.web import need_web, run_module

WORDS = (
    "roof tenant landlord repair bee swarm hive honey moon tide sea wave tower metre steel bridge "
    "river model token vector search index 東京 🌊 naïve résumé Ångström winter summer harvest"
).split()
QUERIES = ["who pays for the roof?", "bees and honey 🌊", "the moon moves the tides", "東京 tower"]
pytestmark = pytest.mark.slow
FILTERS: list[dict[str, Any] | None] = [
    None,
    {"year": {"$gte": 1990, "$lt": 2010}},
    {"$or": [{"kind": "a🙂"}, {"tags": {"$in": ["x", 3]}}]},
    {"$not": {"kind": {"$prefix": "a"}}, "$id": {"$ne": "d7"}},
    {"kind": {"$gt": "a\uffff"}},
    {"flag": True, "inner.deep": {"$exists": True}},
    {"nothing": {"$exists": True}},
    {"nothing": {"$nin": ["x"]}},
]
SCRIPT = """
    const index = await pocket.openIndex(given.site, { runtime: given.runtime });
    const answers = [];
    for (const [query, where, options] of given.asked) {
        answers.push(await index.search(query, { ...options, ...(where && { where }) }));
    }
    done({ answers, transfer: index.transfer, title: index.title, length: index.length });
"""


def documents(count: int) -> list[Document]:
    random = np.random.default_rng(3)
    made = []
    for number in range(count):
        length = 900 if number % 9 == 4 else 40
        topic = random.choice(len(WORDS), 6)
        words = [WORDS[topic[n]] for n in random.integers(6, size=length)]
        text = ". ".join(" ".join(words[n : n + 8]) for n in range(0, length, 8))
        metadata: dict[str, Any] = {
            "year": 1980 + number,
            "kind": ["a🙂", "a\ue000", "b"][number % 3],
        }
        if number % 2:
            metadata |= {"tags": ["x", "y", number], "flag": number % 4 == 1}
        if number % 5 == 0:
            metadata["inner"] = {"deep": [1, None, "z"]}
        sections = (Section(0, ("🌊 Top",)), Section(len(text) // 2, ("🌊 Top", "Inner")))
        made.append(
            Document(
                f"d{number}",
                text,
                f"Title {WORDS[topic[0]]}" if number % 3 else None,
                metadata,
                sections=sections if number % 4 == 0 else (),
            )  # fmt: skip
        )
    made.append(Document("empty", "", "  "))
    return made


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The smaller of the bundled models."""
    return Encoder.load("tiny")


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> dict[str, Index]:
    """The same documents in three codes; int2 is pooled."""
    made = {}
    for codes in ("int8", "int4", "int2"):
        config = IndexConfig(
            dim=encoder.dim,
            model=encoder.card.fingerprint,
            codes=codes,
            pruning=Pruning(pool_factor=2.0) if codes == "int2" else Pruning(),
            splitting=Splitting(max_tokens=96),
            inverted_file="always",
        )
        index = Index.create(tmp_path_factory.mktemp("web") / codes, config)
        Retriever(encoder, index).add(documents(60))
        index.commit()
        made[codes] = index
    return made


def comparable(text: str, start: int, end: int) -> tuple[int, int]:
    """Turn a span in characters into one in UTF-16 units."""
    first, last = (len(text[:n].encode("utf-16-le")) // 2 for n in (start, end))
    return first, last


def assert_same(got: list[dict[str, Any]], wanted: list[Hit]) -> None:
    assert [hit["score"] for hit in got] == pytest.approx([hit.score for hit in wanted], abs=1e-3)
    scores = [round(hit.score, 3) for hit in wanted]
    for hit, like in zip(got, wanted, strict=True):
        if scores.count(round(like.score, 3)) > 1:
            continue  # a tie
        assert hit["id"] == like.document_id
        assert (hit["title"], hit["text"], hit["metadata"]) == (
            like.title, like.text, dict(like.metadata)
        )  # fmt: skip
        passages = [(part["start"], part["end"], part["headings"]) for part in hit["passages"]]
        assert passages[0] == (
            *comparable(like.text or "", like.passages[0].start, like.passages[0].end),
            list(like.passages[0].headings),
        )
        assert len(passages) == len(like.passages)


@pytest.mark.parametrize("codes", ["int8", "int4", "int2"])
def test_hits_are_those_of_python(
    codes: Codes, indexes: dict[str, Index], encoder: Encoder, tmp_path: Path
) -> None:
    need_web()
    index = indexes[codes]
    write_site(index, tmp_path / "site", encoder=encoder, title="Täst 🌊")
    retriever = Retriever(encoder, index)
    asked, wanted = [], []
    for query in QUERIES:
        for where in FILTERS:
            for mode, candidates in (("exact", None), ("approximate", 30), ("approximate", None)):
                options = {"k": 4, "mode": mode} | (
                    {"candidates": candidates} if candidates else {}
                )
                asked.append((query, where, options))
                parameters = SearchParameters(mode=mode, candidates=candidates, hybrid="off")
                wanted.append(retriever.retrieve([query], 4, parameters=parameters, where=where)[0])
    given = {"site": str(tmp_path / "site"), "asked": asked, "runtime": "native"}
    result = run_module(SCRIPT, given)
    assert result["title"] == "Täst 🌊" and result["length"] == 61
    for answer, hits in zip(result["answers"], wanted, strict=True):
        assert_same(answer, list(hits))


def test_explanations_are_those_of_python(
    indexes: dict[str, Index], encoder: Encoder, tmp_path: Path
) -> None:
    need_web()
    index = indexes["int4"]
    write_site(index, tmp_path / "site", encoder=encoder)
    script = """
        const index = await pocket.openIndex(given.site);
        const hits = await index.search(given.query, { k: 5, mode: "exact" });
        done(await Promise.all(hits.map((hit) => index.explain(given.query, hit))));
    """
    retriever = Retriever(encoder, index)
    query = "bees and honey 🌊 by the sea"
    hits = retriever.retrieve([query], 5, parameters=SearchParameters(mode="exact"))[0]
    got = run_module(script, {"site": str(tmp_path / "site"), "query": query})
    texts = {hit.document_id: hit.text or "" for hit in hits}
    for explanation, wanted in zip(got, retriever.explanations(query, hits), strict=True):
        assert explanation["id"] == wanted.document_id
        assert explanation["score"] == pytest.approx(wanted.score, abs=2e-3)
        for match, like in zip(explanation["matches"], wanted.matches, strict=True):
            assert match["queryToken"] == like.query_token
            assert match["similarity"] == pytest.approx(like.similarity, abs=1e-3)
            assert match["share"] == pytest.approx(like.share, abs=1e-3)
            if match["documentToken"] == like.document_token and like.document_span:
                text = texts[wanted.document_id]
                start, end = match["documentSpan"]
                units = text.encode("utf-16-le")
                assert units[2 * start : 2 * end].decode("utf-16-le") == like.document_token
                assert match["weight"] == pytest.approx(like.weight, abs=1e-6)


class _Noting(http.server.SimpleHTTPRequestHandler):
    """Serves files, and notes which."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *args: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Python's plain server of files, which knows neither ranges nor compression."""
    _Noting.asked.clear()
    handler = functools.partial(_Noting, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_search_fetches_the_text_of_its_hit_and_some_of_the_codes(
    indexes: dict[str, Index], encoder: Encoder, tmp_path: Path, served: str
) -> None:
    need_web()
    folder = tmp_path / "below" / "site"
    write_site(indexes["int8"], folder, encoder=encoder)
    given = {
        "site": f"{served}/below/site",
        "asked": [("bees and honey", None, {"k": 1, "candidates": 60})],
        "runtime": "native",
    }
    result = run_module(SCRIPT, given)
    assert len(result["answers"][0]) == 1
    names = [path.rpartition("/")[2] for path in _Noting.asked]
    assert len(names) == len(set(names))  # nothing twice
    assert len([name for name in names if name.startswith("texts-")]) == 1
    codes = {path.name for path in folder.glob("data/codes-*")}
    assert len(codes) > 20 and 0 < len(codes & set(names)) < len(codes)
    sizes = {path.name: path.stat().st_size for path in folder.glob("data/*")}
    fetched = sum(sizes.get(name, 0) for name in names)
    assert result["transfer"]["bytes"] == fetched

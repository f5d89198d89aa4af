"""Keyword search against SQLite's own FTS5 and BM25 in plain Python; fusion against brute force."""

from __future__ import annotations

import math
import sqlite3
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert import Index, IndexConfig, InvalidInputError, Passage, SearchParameters
from tests.support.arrays import unit_rows

pytestmark = pytest.mark.slow

DIM = 8
RNG = np.random.default_rng(41)
QUERY = unit_rows(RNG, 2, DIM)
WORDS = SearchParameters(hybrid="keywords")
TOKENIZERS = {
    "english": "porter unicode61 remove_diacritics 2",
    "words": "unicode61 remove_diacritics 2",
    "trigrams": "trigram",
}

VOCABULARY = [
    "run", "running", "runs", "jump", "jumped", "café", "cafe", "Straße", "naïve", "x", "42", "AND",
    "NEAR", "東京都", "ΟΔΟΣ", "İzmir", "don't", "e-mail", "foo_bar",
]  # fmt: skip
SYNTAX = ['"', "*", "(", ")", ":", "-", "+", "^", "AND", "OR", "NOT", "NEAR(", "{a b}:", ";--", "'"]

PLAIN = {"Straße": "strasse", "ΟΔΟΣ": "οδοσ", "İzmir": "izmir"}
RUNS = {"東京都": "東京 京都 都"}
"""What is indexed of words that SQLite would not find, by hand."""

Kind = Literal["english", "words", "trigrams", "none"]
sentences = st.lists(st.sampled_from(VOCABULARY), max_size=7).map(" ".join)
queries = st.lists(st.sampled_from(VOCABULARY + SYNTAX), max_size=6).map(" ".join)


def index_of(
    texts: Sequence[str | None],
    *,
    keywords: Kind = "words",
    titles: Sequence[str | None] | None = None,
    parts: int = 1,
    metadata: Sequence[Mapping[str, Any]] | None = None,
) -> Index:
    """Return an index of documents d0, d1, ... that came in so many segments."""
    index = Index(DIM, config=IndexConfig(dim=DIM, keywords=keywords), threads=1)
    embeddings = [unit_rows(RNG, 1 + n % 3, DIM) for n in range(len(texts))]
    for part in np.array_split(np.arange(len(texts)), parts):
        if len(part):
            first, last = int(part[0]), int(part[-1]) + 1
            index.add(
                [f"d{n}" for n in part], embeddings[first:last], texts=texts[first:last],
                titles=None if titles is None else titles[first:last],
                metadata=None if metadata is None else metadata[first:last],
            )  # fmt: skip
            index.commit()
    return index


def search(index: Index, query: str, k: int = 100, **settings: Any) -> dict[str, float]:
    """Return the scores of a search by keywords or, as `settings` say, otherwise."""
    where = settings.pop("where", None)
    parameters = SearchParameters(**{"hybrid": "keywords", **settings})
    hits = index.search([QUERY], k, parameters=parameters, where=where, texts=[query])[0]
    place = {item.document_id: n for n, item in enumerate(index)}
    assert hits == sorted(hits, key=lambda hit: (-hit.score, place[hit.document_id]))
    return {hit.document_id: hit.score for hit in hits}


def fts5(rows: Sequence[str], words: Sequence[str], keywords: str) -> dict[int, float]:
    """Score rows by FTS5's bm25() of words joined by OR, rare ones alone if there are any."""
    rows = [plain(row, keywords) for row in rows]
    database = sqlite3.connect(":memory:")
    database.execute(
        f"CREATE VIRTUAL TABLE rows USING fts5(text, tokenize='{TOKENIZERS[keywords]}')"
    )
    database.executemany("INSERT INTO rows(rowid, text) VALUES (?, ?)", enumerate(rows))

    def ask(what: str, query: str) -> list[tuple[Any, ...]]:
        return database.execute(f"SELECT {what} FROM rows WHERE rows MATCH ?", (query,)).fetchall()

    phrases = [f'"{word}"' for word in words]
    counts = {phrase: ask("COUNT(*)", phrase)[0][0] for phrase in phrases}
    rare = [phrase for phrase in phrases if 0 < counts[phrase] < len(rows) / 2]
    asked = rare or [phrase for phrase in phrases if counts[phrase]]
    found = ask("rowid, -bm25(rows)", " OR ".join(asked)) if asked else []
    database.close()
    return dict(found)


def plain(text: str, keywords: str) -> str:
    """Write a text of the vocabulary as it is indexed."""
    for word, indexed in {**PLAIN, **(RUNS if keywords != "trigrams" else {})}.items():
        text = text.replace(word, indexed)
    if keywords == "trigrams":
        text = "".join(
            c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)
        )
    return text


def split(query: str, keywords: str = "words") -> list[str]:
    """Split an ASCII or composed query as documented, by hand."""
    words: list[str] = []
    for word in "".join(c if c.isalnum() or c == "_" else " " for c in query).split():
        if keywords == "trigrams":
            word = plain(word, keywords)
            words += [word[n : n + 3] for n in range(len(word) - 2)]
        elif word in RUNS:
            words += RUNS[word].split()[:-1]
        else:
            word = plain(word, keywords)
            words.append(word)
    return list({word.lower(): word for word in words}.values())


def close(scores: Mapping[str, float]) -> Any:
    """Return scores to be compared with, as float32 holds them."""
    return pytest.approx(dict(scores), rel=1e-5, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.none() | sentences, min_size=1, max_size=12),
    titles=st.lists(st.none() | sentences, min_size=12, max_size=12),
    query=queries,
    keywords=st.sampled_from(list(TOKENIZERS)),
)
def test_one_segment_scores_as_fts5(
    texts: list[str | None], titles: list[str | None], query: str, keywords: Kind
) -> None:
    index = index_of(texts, titles=titles[: len(texts)], keywords=keywords)
    rows = [f"{title or ''} {text or ''}" for title, text in zip(titles, texts, strict=False)]
    wanted = fts5(rows, split(query, keywords), keywords)
    expected = close({f"d{n}": score for n, score in wanted.items()})
    assert search(index, query) == expected, ascii((query, keywords))


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(st.lists(sentences, min_size=1, max_size=4), min_size=1, max_size=6),
    query=queries,
)
def test_passages_count_each_and_the_best_one_scores(parts: list[list[str]], query: str) -> None:
    index = Index(DIM, config=IndexConfig(dim=DIM, keywords="words"), threads=1)
    rows, owners = [], []
    for n, sentences_of in enumerate(parts):
        passages, text = [], ""
        for sentence in sentences_of:
            passages.append(Passage(len(text), len(text) + len(sentence), unit_rows(RNG, 1, DIM)))
            rows.append(f"title {sentence}")
            owners.append(f"d{n}")
            text += sentence + " | "
        index.add([f"d{n}"], [passages], texts=[text], titles=["title"])
    best: dict[str, float] = {}
    for row, score in fts5(rows, split(query), "words").items():
        best[owners[row]] = max(score, best.get(owners[row], 0.0))
    assert search(index, query) == close(best)


def bm25(parts: Sequence[Sequence[str]], query: str) -> list[float]:
    """Score rows in several parts: a word's rarity is of all, the mean length the part's own."""
    rows = [[row.lower().split() for row in part] for part in parts]
    everything = [row for part in rows for row in part]
    rarity = {}
    for word in dict.fromkeys(query.lower().split()):
        count = sum(word in row for row in everything)
        if count:
            rarity[word] = math.log((len(everything) - count + 0.5) / (count + 0.5))
    rarity = {word: idf for word, idf in rarity.items() if idf > 0} or dict.fromkeys(rarity, 1e-6)
    scores = []
    for part in rows:
        mean = sum(map(len, part)) / len(part)
        for row in part:
            score = 0.0
            for word, idf in rarity.items():
                times = row.count(word)
                if times:
                    score += idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * len(row) / mean))
            scores.append(score)
    return scores


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6).map(" ".join), min_size=2,
                   max_size=20),
    parts=st.integers(1, 5),
    query=st.lists(st.sampled_from("abcdefgh"), max_size=4).map(" ".join),
)  # fmt: skip
def test_rarity_is_taken_from_all_segments(texts: list[str], parts: int, query: str) -> None:
    index = index_of(texts, parts=parts)
    pieces = [[texts[n] for n in part] for part in np.array_split(np.arange(len(texts)), parts)]
    scores = bm25([piece for piece in pieces if piece], query)
    wanted = {f"d{n}": score for n, score in enumerate(scores) if score > 0}
    assert search(index, query) == close(wanted)
    same_lengths = [f"{text} {'z ' * (6 - len(text.split()))}" for text in texts]
    whole, apart = index_of(same_lengths), index_of(same_lengths, parts=parts)
    assert search(apart, query) == close(search(whole, query))


def test_how_documents_came_in_matters_little() -> None:
    """Only by the mean length of a passage, which is much the same in every segment."""
    texts = [" ".join(RNG.choice(list("abcdefghijklmnop"), size=RNG.integers(15, 25)))
             for _ in range(400)]  # fmt: skip
    for query in ("a", "b c d", "p o n m"):
        whole = search(index_of(texts), query, 400)
        apart = search(index_of(texts, parts=7), query, 400)
        assert whole.keys() == apart.keys()
        assert apart == pytest.approx(whole, rel=0.1)
        assert apart != pytest.approx(whole, rel=1e-4)


def test_what_counts_as_a_word() -> None:
    texts = ["Running in the café", "東京都の人口は千四百万人です", "大阪は商業の町です", "b", "c"]
    texts += [unicodedata.normalize("NFD", "Résumé of Ångström"), "हिन्दी भाषा", "हार"]

    def ids(kind: Kind, query: str) -> set[str]:
        return set(search(index_of(texts, keywords=kind), query))

    assert ids("english", "runs") == ids("english", "CAFES") == {"d0"}
    assert ids("words", "runs") == set() and ids("words", "cafe") == ids("words", "CAFÉ") == {"d0"}
    assert ids("trigrams", "nnin") == {"d0"} and ids("trigrams", "caf") == {"d0"}
    assert ids("trigrams", "ca") == set()
    assert ids("trigrams", "東京都の人口は何人ですか") == {"d1"}
    assert ids("trigrams", "大阪はどんな町ですか") == {"d2"}
    assert ids("words", "東京都") == ids("english", "都") == ids("english", "東") == {"d1"}
    assert ids("words", "京大") == set()
    for query in ("résumé", "resume", "Ångström"):
        assert ids("words", query) == {"d5"}
        assert ids("words", unicodedata.normalize("NFD", query)) == {"d5"}
    assert ids("words", "हिन्दी") == {"d6"}  # not "d7", which begins with the same letter


@pytest.mark.parametrize("keywords", list(TOKENIZERS))
def test_the_syntax_of_queries_is_plain_text(keywords: Kind) -> None:
    texts = ["and near not", "alpha beta", "text alpha", "gamma", "delta", "epsilon", "zeta", "eta"]
    index = index_of(texts, keywords=keywords)
    for query in ("AND", "NEAR(near, 2)", "NOT not", "and OR"):
        assert set(search(index, query)) == {"d0"}, query
    for query in ("*", '"', "''", "^", "-", ":", "(", '""', "+ . ,", "", " ", "\x00", "\ud800"):
        assert search(index, query) == {}, query
    plain = search(index, "alpha")
    assert plain.keys() == {"d1", "d2"}
    for query in (
        '"alpha"', "alpha*", "-alpha", "^alpha", '"alpha', "alpha AND", "{text}:alpha", "alpha:",
        "text:alpha", "(alpha", "alpha + +", "alpha\x00", "NEAR(alpha)", "'alpha'; DROP TABLE",
    ):  # fmt: skip
        assert search(index, query).keys() >= plain.keys(), query
    assert search(index, '"alpha"*:^-') == plain
    assert search(index, "alpha Alpha ALPHA") == plain
    long = " ".join(f"alpha{n}" for n in range(2000))
    assert search(index, "x" * 10_000) == {} and search(index, long + " gamma").keys() >= {"d3"}


def ranked(scores: Mapping[str, float]) -> dict[str, int]:
    """Return ranks from 1, equal scores sharing the better one."""
    return {name: 1 + sum(s > score for s in scores.values()) for name, score in scores.items()}


def scaled(scores: Mapping[str, float]) -> dict[str, float]:
    """Scale scores to 0 to 1."""
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    return {n: (s - low) / (high - low) if high > low else 1.0 for n, s in scores.items()}


def fused(
    maxsim: Mapping[str, float], words: Mapping[str, float], method: str, weight: float, depth: int
) -> dict[str, float]:
    """Fuse the best of two searches, each with all it has found, best first."""
    union = {*list(maxsim)[:depth], *list(words)[:depth]}
    by_maxsim = {name: score for name, score in maxsim.items() if name in union}
    by_words = {name: score for name, score in words.items() if name in union}
    if method == "rrf":
        parts = [ranked(by_maxsim), ranked(by_words)]
        return {n: sum(1 / (60 + part[n]) for part in parts if n in part) for n in union}
    if union:
        by_words = {name: words.get(name, 0.0) for name in union}
    first, second = scaled(by_maxsim), scaled(by_words)
    return {n: (1 - weight) * first.get(n, 0.0) + weight * second[n] for n in union}


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from("abcdef"), max_size=5).map(" ".join), min_size=1,
                   max_size=16),
    parts=st.integers(1, 4),
    gone=st.sets(st.integers(0, 15), max_size=5),
    query=st.lists(st.sampled_from("abcdefz"), max_size=3).map(" ".join),
    method=st.sampled_from(["rrf", "weighted"]),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    depth=st.sampled_from([1, 3, 100]),
    filtered=st.booleans(),
    same=st.booleans(),
)  # fmt: skip
def test_fusion_equals_brute_force(
    texts: list[str], parts: int, gone: set[int], query: str, method: str, weight: float,
    depth: int, filtered: bool, same: bool,
) -> None:  # fmt: skip
    index = index_of(texts, parts=parts, metadata=[{"n": n % 2} for n in range(len(texts))])
    tokenless = [QUERY[:0], -QUERY if same else QUERY]
    index.add(["none", "far"], tokenless, texts=["a b", "c"], metadata=[{"n": 1}] * 2)
    index.commit()
    index.delete(f"d{n}" for n in gone)
    where = {"n": 1} if filtered else None
    living = {item.document_id for item in index if not filtered or item.metadata["n"] == 1}
    maxsim = search(index, "", hybrid="off", where=where)
    words = search(index, query, where=where)
    assert maxsim.keys() == living - {"none"} and words.keys() <= living
    for k in (1, 4, 30):
        wanted = fused(maxsim, words, method, weight, max(depth, k))
        hits = search(
            index, query, k, hybrid=method, keyword_weight=weight, depth=depth, where=where
        )
        assert len(hits) == min(k, len(wanted))
        assert hits == pytest.approx({n: wanted[n] for n in hits}, rel=1e-4, abs=1e-6)
        left = [score for name, score in wanted.items() if name not in hits]
        assert all(score <= min(hits.values()) + 1e-6 for score in left)


def test_documents_whose_maxsim_is_negative_are_fused_too() -> None:
    one, two = np.eye(DIM, dtype=np.float32)[:2, None]
    index = Index(DIM, threads=1)
    index.add(["farther", "far"], [-one, (two - one) / np.sqrt(2)], texts=["a", "b"])
    parameters = SearchParameters(hybrid="rrf")
    hits = index.search([one - two], parameters=parameters, texts=["nothing"])[0]
    assert [hit.document_id for hit in hits] == ["farther", "far"]


@pytest.mark.parametrize("hybrid", ["keywords", "rrf", "weighted"])
def test_deleted_documents_are_never_found(hybrid: str, tmp_path: Path) -> None:
    parameters = SearchParameters(hybrid=hybrid, depth=1)  # type: ignore[arg-type]
    with Index.create(tmp_path / "index", IndexConfig(dim=DIM)) as index:
        for start in (0, 5):
            ids = [f"d{n}" for n in range(start, start + 5)]
            index.add(ids, [QUERY] * 5, texts=["apple pie", "apple", "pear", "fig", "plum"])
            index.commit()
        index.delete(["d0", "d1", "d5"])
        index.upsert(["d6"], [QUERY], texts=["lemon"])
        index.commit()
        found = index.search([QUERY], 10, parameters=parameters, texts=["apple lemon"])[0]
        texts = {hit.document_id: hit.text for hit in found}
        assert "lemon" in texts.values() and "apple" not in texts.values()
        assert texts.keys() <= {"d2", "d3", "d4", "d6", "d7", "d8", "d9"}
        index.compact()
        again = index.search([QUERY], 10, parameters=parameters, texts=["apple lemon"])[0]
        assert {hit.document_id for hit in again} == texts.keys()


def test_keywords_alone_need_no_token_vectors() -> None:
    index = Index(DIM, threads=1)
    index.add(["none", "some"], [QUERY[:0], QUERY], texts=["apple", "pear and apple"])
    index.add(["other", "more", "else"], [QUERY] * 3, texts=["fig", "fig", "fig"])
    hits = index.search([QUERY[:0]], parameters=WORDS, texts=["apple"])[0]
    assert [(hit.document_id, hit.passages) for hit in hits] == [("none", ()), ("some", ())]
    for hybrid in ("rrf", "weighted"):
        parameters = SearchParameters(hybrid=hybrid)  # type: ignore[arg-type]
        hits = index.search([QUERY[:0]], parameters=parameters, texts=["apple"])[0]
        assert [hit.document_id for hit in hits] == ["none", "some"]
        assert index.search([QUERY[:0]], parameters=parameters, texts=["zzz"]) == [[]]
    hits = index.search([QUERY], parameters=WORDS, texts=["apple"])[0]
    assert [len(hit.passages) for hit in hits] == [0, 1]
    assert hits[1].passages[0].score == pytest.approx(2.0, abs=0.1)


def test_one_batch_equals_many() -> None:
    texts = ["a b", "b c", "c d", "d e", "e f", "f g", "g h"]
    index = Index(DIM, threads=2)
    index.add([str(n) for n in range(7)], [unit_rows(RNG, 2, DIM) for _ in texts], texts=texts)
    embeddings = [unit_rows(RNG, 2, DIM) for _ in range(9)]
    asked = [f"{a} {b}" for a, b in zip("abcdefghx", "hgfedcbax", strict=True)]
    for hybrid in ("keywords", "rrf", "weighted"):
        parameters = SearchParameters(hybrid=hybrid)  # type: ignore[arg-type]
        many = index.search(embeddings, 5, parameters=parameters, texts=asked)
        assert many == [
            index.search([embedding], 5, parameters=parameters, texts=(text,))[0]
            for embedding, text in zip(embeddings, asked, strict=True)
        ]


@pytest.mark.parametrize("hybrid", ["keywords", "rrf", "weighted"])
def test_errors_say_what_is_missing(hybrid: str) -> None:
    parameters = SearchParameters(hybrid=hybrid)  # type: ignore[arg-type]
    index = index_of(["a", "b"])
    bad: list[Any] = [None, "a", [], ["a", "b"], [3], [None], [b"a"]]
    for texts in bad:
        with pytest.raises(InvalidInputError, match="needs texts, a list of the texts of the 1"):
            index.search([QUERY], parameters=parameters, texts=texts)
    without = index_of(["a", "b"], keywords="none")
    with pytest.raises(InvalidInputError, match="keywords='none'"):
        without.search([QUERY], parameters=parameters, texts=["a"])
    assert len(without.search([QUERY], texts=["a"])[0]) == 2
    assert index.search([], parameters=parameters, texts=[]) == []


def test_indexes_without_keywords_are_whole(tmp_path: Path) -> None:
    config = IndexConfig(dim=DIM, keywords="none")
    with Index.create(tmp_path / "index", config) as index:
        index.add(["a", "b"], [QUERY] * 2, texts=["one", "two"], metadata=[{"n": 1}, {"n": 2}])
        index.commit()
        index.delete(["a"])
        index.compact()
    with Index.load(tmp_path / "index", verify=True) as index:
        hits = index.search([QUERY], where={"n": 2})[0]
        assert [(hit.document_id, hit.text) for hit in hits] == [("b", "two")]


def test_an_empty_index_has_no_words() -> None:
    index = Index(DIM, threads=1)
    for hybrid in ("keywords", "rrf", "weighted"):
        parameters = SearchParameters(hybrid=hybrid)  # type: ignore[arg-type]
        assert index.search([QUERY], parameters=parameters, texts=["a"]) == [[]]
    index.add(["a"], [QUERY])
    assert search(index, "a") == {}
    assert list(search(index, "a", hybrid="rrf")) == ["a"]

"""Relevance: one scale from 0 to 1, whatever the query's length and the kind of search."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import (
    Document,
    Encoder,
    Index,
    IndexConfig,
    InvalidInputError,
    MultiIndex,
    Query,
    Retriever,
    SearchParameters,
)
from pocket_colbert.config import WEAK_RELEVANCE, RelevanceCurve
from pocket_colbert.search.relevance import asked_words, falling, neighbours, weigh
from pocket_colbert.types import Token
from tests.support.cli import json_lines, run

TEXTS = {
    "paris": "Paris is the capital of France and its largest city.",
    "cell": "The mitochondria is the powerhouse of the cell.",
    "short": "x",
    "bread": "Bread is baked at 220 degrees for forty minutes.",
}
NOTHING = [
    "the", "what is the", "of the and", "is it what", "How do I", "should we be there",
    "asdf qwer zxcv", "asdf jkl;", "qzxv wkjh plort", "fdsjk fsdjkl qwpeoi", "?", "?!...", "- / -",
    "\N{GRINNING FACE}",
]  # fmt: skip


def filled(encoder: Encoder, documents: dict[str, str]) -> Retriever:
    retriever = Retriever(encoder, Index(encoder.dim))
    retriever.add([Document(name, text) for name, text in documents.items()])
    return retriever


@pytest.fixture(scope="module", params=["small", "tiny"])
def retriever(request: pytest.FixtureRequest) -> Iterator[Retriever]:
    retriever = filled(Encoder.load(request.param, threads=1), TEXTS)
    yield retriever
    assert retriever.index is not None
    retriever.index.close()


def relevance_of(retriever: Retriever, query: str, **settings: object) -> dict[str, float]:
    (hits,) = retriever.retrieve([query], 4, **settings)  # type: ignore[arg-type]
    assert all(hit.relevance is not None for hit in hits)
    return {hit.document_id: hit.relevance or 0.0 for hit in hits}


@pytest.mark.parametrize(
    ("query", "right"),
    [
        ("What is the capital of France?", "paris"),
        ("paris", "paris"),
        ("powerhouse of the cell", "cell"),
        ("How many degrees is bread baked at?", "bread"),
    ],
)
def test_right_answers_are_likely_and_others_are_not(
    retriever: Retriever, query: str, right: str
) -> None:
    for parameters in (
        None, SearchParameters(hybrid="rrf"), SearchParameters(hybrid="keywords"),
        SearchParameters(query_tolerance=0.2), SearchParameters(passages=1),
    ):  # fmt: skip
        for name, relevance in relevance_of(retriever, query, parameters=parameters).items():
            assert relevance > 0.6 if name == right else relevance < WEAK_RELEVANCE
    hits = retriever.rerank(query, TEXTS)
    assert hits[0].document_id == right
    for hit in hits:
        assert hit.relevance is not None
        assert hit.relevance > 0.6 if hit.document_id == right else hit.relevance < WEAK_RELEVANCE


@pytest.mark.parametrize("query", [*NOTHING, "who won"])
def test_queries_that_nothing_answers_have_no_relevant_hit(
    retriever: Retriever, query: str
) -> None:
    relevances = relevance_of(retriever, query)
    assert len(relevances) == 4 and max(relevances.values()) < 0.1
    assert retriever.retrieve([query], 4, min_relevance=0.1) == [[]]
    assert max(hit.relevance or 0 for hit in retriever.rerank(query, TEXTS)) < 0.1


def test_keyboard_mash_is_never_relevant_in_many_documents(encoder: Encoder) -> None:
    rng = random.Random(0)
    words = (
        "engine river border account winter cable method signal garden harbor letter market metal "
        "music number office paper pepper planet record school season silver system ticket valley"
    ).split()
    retriever = filled(encoder, {str(n): " ".join(rng.choices(words, k=30)) for n in range(60)})
    for _ in range(10):
        letters = "".join(rng.choices("qwertzuiopasdfghjklyxcvbnm", k=14))
        query = f"{letters[:4]} {letters[4:9]} {letters[9:]}"
        assert max(relevance_of(retriever, query).values()) < 0.1, query


@pytest.mark.parametrize("empty", ["", " \n", "...", "\N{ZERO WIDTH SPACE}"])
def test_a_text_without_words_is_not_relevant_and_changes_no_other(
    encoder: Encoder, empty: str
) -> None:
    retriever = Retriever(encoder)
    query = "What is the capital of Germany?"
    texts = [*TEXTS.values()]
    plain = [hit.relevance for hit in retriever.rerank(query, texts)]
    hits = retriever.rerank(query, [*texts, empty])
    assert hits[-1].document_id == "4" and (hits[-1].relevance or 0) < 0.1
    assert [hit.relevance for hit in hits[:-1]] == plain
    assert [hit.relevance for hit in retriever.rerank(query, [empty])] == [0.0]


def test_relevance_does_not_depend_on_how_many_hits_are_asked_for(encoder: Encoder) -> None:
    texts = {str(n): f"Bees live on roof {n}." for n in range(30)} | TEXTS
    retriever = filled(encoder, texts)
    (all_hits,) = retriever.retrieve(["bees on roof 7"], 34)
    for k in (1, 2, 9, 10):
        assert retriever.retrieve(["bees on roof 7"], k)[0] == all_hits[:k]
    reranked = retriever.rerank("bees on roof 7", texts)
    assert retriever.rerank("bees on roof 7", texts, 1) == reranked[:1]
    assert [hit.relevance is None for hit in all_hits] == [False] * 34


def test_only_hits_with_enough_relevance_are_returned(retriever: Retriever) -> None:
    (hits,) = retriever.retrieve(["What is the capital of France?"], 4, min_relevance=0.5)
    assert [hit.document_id for hit in hits] == ["paris"]
    for wrong in (-0.1, 1.1, float("nan"), "0.5", True):
        with pytest.raises(InvalidInputError, match="must be null or a number from 0 to 1"):
            retriever.retrieve(["paris"], min_relevance=wrong)  # type: ignore[arg-type]


def test_relevance_is_not_known_without_weights(retriever: Retriever) -> None:
    query = retriever.encoder.query("paris")
    bare = Query(query.text, query.embedding, query.tokens)
    assert retriever.retrieve([bare], 4, min_relevance=0.1) == [[]]
    assert {hit.relevance for hit in retriever.retrieve([bare], 4, min_relevance=0)[0]} == {None}


def test_a_model_without_a_curve_says_no_relevance(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model)
    assert encoder.relevance_curve is None
    retriever = filled(encoder, TEXTS)
    (hits,) = retriever.retrieve(["paris"], 2)
    assert len(hits) == 2 and {hit.relevance for hit in hits} == {None}
    assert {hit.relevance for hit in retriever.rerank("paris", TEXTS)} == {None}
    with pytest.raises(InvalidInputError, match="pocket-colbert-export relevance"):
        retriever.retrieve(["paris"], min_relevance=0.5)


def test_every_width_has_a_curve_of_its_own(encoder: Encoder) -> None:
    widths = (encoder.dim, *encoder.config.matryoshka_dims)
    curves = [Encoder.load("tiny", dim=width).relevance_curve for width in widths]
    assert None not in curves and len(set(curves)) == len(widths)


def test_documents_without_text_are_judged_by_their_title_or_not_at_all(encoder: Encoder) -> None:
    retriever = Retriever(encoder, Index(encoder.dim))
    retriever.add([
        Document("titled", None, "Paris, the capital of France"), Document("told", TEXTS["bread"]),
    ])  # fmt: skip
    relevances = relevance_of(retriever, "the capital of France")
    assert relevances["titled"] > 0.6 and relevances["told"] < 0.1


def test_the_similarities_of_a_hit_add_up_to_its_score(encoder: Encoder) -> None:
    texts = {str(n): f"{'A paragraph about nothing. ' * 40 * (n % 2)}Bees {n}." for n in range(9)}
    config = IndexConfig(dim=encoder.dim)
    for codes in ("int8", "int4", "int1"):
        index = Index(encoder.dim, config=IndexConfig(dim=encoder.dim, codes=codes))
        retriever = Retriever(encoder, index)
        retriever.add([Document(name, text) for name, text in texts.items()])
        index.commit()
        retriever.add([Document("later", "Bees later.")])
        index.commit()
        query = encoder.query("where are bees 3")
        for parameters in (SearchParameters(), SearchParameters(query_tolerance=0.3)):
            for hit in retriever.retrieve([query], 10, parameters=parameters)[0]:
                first, *others = hit.passages
                assert len(first.similarities) == len(query.embedding)
                assert all(passage.similarities == () for passage in others)
                if not parameters.query_tolerance:
                    assert sum(first.similarities) == pytest.approx(first.score, abs=1e-3)
    assert config == IndexConfig(dim=encoder.dim)


def test_several_indexes_say_what_one_of_all_says(encoder: Encoder, tmp_path: Path) -> None:
    config = IndexConfig(dim=encoder.dim, codes="int8")
    documents = [Document(str(n), f"Bees live on roof {n} of {n % 3}.") for n in range(20)]
    for name, part in (("all", documents), ("a", documents[:7]), ("b", documents[7:])):
        with Index.create(tmp_path / name, config) as index:
            Retriever(encoder, index).add(part)
            index.commit()
    with (
        Index.load(tmp_path / "all") as whole,
        MultiIndex.load([tmp_path / "a", tmp_path / "b"]) as parts,
    ):
        assert whole.word_counts(["bees", "7"]) == parts.word_counts(["bees", "7"])
        assert whole.word_counts(["bees", "7", "nowhere"]) == (
            {"bees": 20.0, "7": 1.0, "nowhere": 0.0}, 20,
        )  # fmt: skip
        one = relevance_of(Retriever(encoder, whole), "roof 7")
        several = relevance_of(Retriever(encoder, parts), "roof 7")
        assert one.keys() == several.keys()
        assert list(one.values()) == pytest.approx(list(several.values()), abs=0.02)


@pytest.mark.parametrize("keywords", ["none", "words", "trigrams"])
def test_relevance_needs_no_keywords(encoder: Encoder, keywords: str) -> None:
    index = Index(encoder.dim, config=IndexConfig(dim=encoder.dim, keywords=keywords))  # type: ignore[arg-type]
    retriever = Retriever(encoder, index)
    retriever.add([Document(name, text) for name, text in TEXTS.items()])
    assert relevance_of(retriever, "the capital of France")["paris"] > 0.6


def test_words_in_many_passages_are_estimated(encoder: Encoder) -> None:
    index = Index(encoder.dim, config=IndexConfig(dim=encoder.dim))
    row = np.eye(1, encoder.dim, dtype=np.float32)
    number = 2_500
    index.add(
        [str(n) for n in range(number)], [row] * number,
        texts=[f"bees{' swarm' if n % 2 else ''} {n}" for n in range(number)],
    )  # fmt: skip
    index.commit()
    counts, passages = index.word_counts(["bees", "swarm", "7"])
    assert passages == number and counts["7"] == 1
    assert counts["bees"] == pytest.approx(number, rel=0.01)
    assert counts["swarm"] == pytest.approx(number / 2, rel=0.01)


def test_rare_words_count_more_than_frequent_ones() -> None:
    tokens = tuple(
        Token(word, (start, start + len(word)))
        for word, start in (("the", 0), ("bees", 4), ("asphodel", 9))
    )
    query = Query(
        "the bees asphodel", np.zeros((3, 4), np.float32), tokens,
        weights=np.array([0.02, 0.6, 0.9], np.float32),
    )  # fmt: skip
    assert asked_words(query) == ["asphodel", "bees"]
    alone, among = weigh(query), weigh(query, {"bees": 900, "asphodel": 0}, 1_000)
    assert alone is not None and among is not None
    the, bees, asphodel = alone.token_weights
    assert the < bees < asphodel
    assert among.token_weights[1] < bees / 4 and among.token_weights[2] > asphodel
    assert alone.says == 1


def test_words_of_scripts_without_spaces_are_looked_for_in_pairs() -> None:
    text = "東京の天気"
    query = Query(
        text, np.zeros((5, 4), np.float32),
        tuple(Token(char, (n, n + 1)) for n, char in enumerate(text)),
        weights=np.full(5, 0.7, np.float32),
    )  # fmt: skip
    assert asked_words(query) == ["東京", "京の", "の天", "天気"]
    weighed = weigh(query)
    assert weighed is not None
    assert weighed._shared("今日の東京の天気は晴れ") == 1
    assert 0 < weighed._shared("東京は大きい") < 0.5 and weighed._shared("北京") == 0


def test_a_falling_list_keeps_its_mean_and_its_order() -> None:
    assert falling([]) == []
    assert falling([0.9, 0.5, 0.1]) == [0.9, 0.5, 0.1]
    assert falling([0.2, 0.8, 0.1]) == [0.5, 0.5, 0.1]
    assert falling([0.1, 0.2, 0.9]) == pytest.approx([0.4] * 3)
    values = np.random.default_rng(0).random(50).tolist()
    pooled = falling(values)
    assert all(a >= b for a, b in zip(pooled, pooled[1:], strict=False))
    assert sum(pooled) == pytest.approx(sum(values))


def test_texts_without_words_are_no_neighbours() -> None:
    assert neighbours([9.0, 8.0, -32.0, 7.0], 1) == [9.0, 7.0]
    assert neighbours([9.0], 0) == []
    assert neighbours([float(n) for n in range(20, 0, -1)], 0) == [19, 18, 17, 16, 15, 14, 13, 12]


@pytest.mark.parametrize(
    "values", [{}, [], None, {"similarity": 1}, {"extra": 1}, {"similarity": "1"}]
)
def test_curves_are_checked(values: object) -> None:
    curve = RelevanceCurve(similarity=1, score=2, lead=3, usual_lead=0.1, offset=-4)
    assert RelevanceCurve.from_json(curve.to_json()) == curve
    wrong = {**curve.to_json(), **values} if isinstance(values, dict) and values else values
    if values == {"similarity": 1}:
        wrong = values
    with pytest.raises(InvalidInputError, match="relevance curve"):
        RelevanceCurve.from_json(wrong)
    for number in (float("nan"), float("inf"), 1e9, True):
        with pytest.raises(InvalidInputError, match="relevance curve"):
            RelevanceCurve.from_json({**asdict(curve), "offset": number})


def test_the_command_line_says_how_likely_hits_are(encoder: Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "made.index"
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with Index.create(folder, config) as index:
        Retriever(encoder, index).add([Document(name, text) for name, text in TEXTS.items()])
        index.commit()
    question = "What is the capital of France?"
    for query, found in ((question, ["paris"]), ("the", [])):
        done = run("search", folder, query, "--min-relevance", 0.5, "--json")
        hits = json_lines(done.stdout)
        assert [hit["document_id"] for hit in hits] == found
        assert all(0.5 <= hit["relevance"] <= 1 for hit in hits)
        assert all("similarities" not in part for hit in hits for part in hit["passages"])
    plain = run("search", folder, question)
    assert plain.stdout.splitlines()[0].split()[:2] in (["paris:", "99%"], ["paris:", "100%"])
    assert "Weak matches" not in plain.stderr
    weak = run("search", folder, "knitting patterns for socks")
    assert "Weak matches: nothing here is likely" in weak.stderr and len(weak.stdout) > 0
    nothing = run("search", folder, "knitting patterns for socks", "--min-relevance", 0.3)
    assert nothing.stdout == "" and nothing.exit_code == 1
    assert "No hits that are at least 30% likely to be right." in nothing.stderr

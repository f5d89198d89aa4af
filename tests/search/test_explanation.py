"""Explanations add up to MaxSim, and snippets show what matched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert import Encoder, InvalidInputError, Token, maxsim
from pocket_colbert.search.explanation import MatchedPassage, explain_match
from pocket_colbert.search.snippets import best_window, snippet, snippet_weights
from pocket_colbert.types import Query
from tests.support.arrays import unit_rows

FILLER = [
    "Bread rises because yeast makes gas in the dough.",
    "The old mill beside the road was sold last spring.",
    "Bees keep their hive at one temperature all year.",
    "Some glues hold only when both sides are roughened.",
]
ANSWER = "The Eiffel Tower was completed in 1889 for a world fair."
QUERY = "when was the Eiffel Tower built?"


@pytest.mark.parametrize("place", [0, 2, 4])
def test_explanations_add_up_and_point_at_the_words(encoder: Encoder, place: int) -> None:
    passage = " ".join([*FILLER[:place], ANSWER, *FILLER[place:]])
    text, start = f"Something before. {passage}", len("Something before. ")
    query = encoder.query(QUERY)
    (embedding,) = encoder.encode_document([f"Paris {passage}"])
    tokens = encoder.document_tokens(passage, title="Paris")
    found = explain_match(query, MatchedPassage("d1", start, passage, tokens, embedding))
    assert (found.document_id, found.start, found.end) == ("d1", start, len(text))
    assert found.score == pytest.approx(maxsim(query.embedding, embedding), abs=1e-5)
    assert sum(match.similarity for match in found.matches) == pytest.approx(found.score, abs=1e-4)
    words = [match for match in found.matches if match.query_span is not None]
    assert len(words) < len(found.matches)
    assert sum(match.share for match in words) == pytest.approx(1)
    assert all(match.share == 0 for match in found.matches if match not in words)
    most = max(words, key=lambda match: match.similarity)
    assert most.share == max(match.share for match in words)
    assert [match.query_token for match in found.matches[2:4]] == ["when", "was"]
    for match in found.matches:
        if match.query_span is not None:
            assert match.query_token == QUERY[slice(*match.query_span)]
        if match.document_span is not None:
            assert match.document_token == text[slice(*match.document_span)]
    near = {match.query_token: match.document_token for match in found.matches}
    assert near["Tower"] == "Tower"


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("length", [60, 100, 180])
def test_snippets_show_the_sentence(encoder: Encoder, place: int, length: int) -> None:
    text = " ".join([*FILLER[:place], ANSWER, *FILLER[place:]])
    query = encoder.query(QUERY)
    (embedding,) = encoder.encode_document([text])
    passage = MatchedPassage("d1", 7, text, encoder.document_tokens(text), embedding)
    weights = snippet_weights(query, passage)
    assert len(weights) == sum(token.span is not None for token in query.tokens) > 5
    start, end = (position - 7 for position in snippet(query, passage, length))
    part = text[start:end]
    assert len(part) <= length and part == part.strip()
    assert "Eiffel Tower was completed in 1889" in part
    assert length > 60 or part.startswith(ANSWER)
    assert start == 0 or text[start - 2] == "."


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.sampled_from(["a", "be.", "the\n", "x" * 9, "語", "end!"]), max_size=40),
    length=st.integers(1, 60),
    seed=st.integers(0, 9),
)
def test_windows_fit_and_hold_the_best_word(words: list[str], length: int, seed: int) -> None:
    text = " ".join(words)
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
    spans = np.array(
        [(start, start + len(word.rstrip())) for start, word in zip(starts, words, strict=True)],
        dtype=np.int64,
    ).reshape(-1, 2)
    weights = np.zeros((2, len(words)), dtype=np.float32)
    best = np.random.default_rng(seed).integers(len(words)) if words else None
    if best is not None:
        weights[1, best] = 1
    start, end = best_window(text, spans, weights, length)
    assert 0 <= start <= end <= len(text) and end - start <= length
    if best is not None and spans[best, 1] - spans[best, 0] <= length:
        assert start <= spans[best, 0] and spans[best, 1] <= end


def test_windows_take_the_most_query_tokens_and_the_first_of_equals() -> None:
    text = "red fox. " + "nothing here. " * 5 + "red wolf. " + "more of it. " * 5 + "red fox."
    spans = np.array([[0, 3], [4, 7], [79, 82], [83, 87], [149, 152], [153, 156], [-1, -1]])
    assert [text[a:b] for a, b in spans[:6]] == ["red", "fox", "red", "wolf", "red", "fox"]
    weights = np.zeros((2, 7), dtype=np.float32)
    weights[0, [0, 2, 4]] = 0.5
    weights[1, [1, 5]] = 0.4
    weights[:, 6] = 0.3  # in the title, so before all windows
    assert best_window(text, spans, weights, 20) == (0, 16)
    weights[1, 3] = 0.45
    assert text[slice(*best_window(text, spans, weights, 20))] == "red wolf. more of"
    assert best_window(text, spans, weights, 500) == (0, len(text))
    assert best_window(text, spans, weights[:0], 10) == (0, 8)


@pytest.mark.parametrize("length", [60, 100])
def test_windows_within_a_long_sentence_end_with_it(length: int) -> None:
    """One that starts later would begin in the middle and go on in the next sentence."""
    text = "Herons stand " * 20 + "and wait. They eat fish at dawn."
    starts = [text.index("wait"), text.index("dawn")]
    spans = np.array([[start, start + 4] for start in starts])
    weights = np.eye(2, dtype=np.float32)
    part = slice(*best_window(text, spans, weights, length))
    assert text[part] == "They eat fish at dawn."
    part = slice(*best_window(text, spans[:1], weights[:1, :1], length))
    assert text[part].endswith("and wait.") and part.stop - part.start > length - 14


def test_windows_keep_sentences_whole_where_these_fill_them() -> None:
    text = "The fox is red. It eats mice at night. Then it sleeps until the sun is down."
    spans = np.array([[4, 7], [19, 23]])
    weights = np.array([[0.5, 0], [0, 0.5]], dtype=np.float32)
    assert text[slice(*best_window(text, spans, weights, 50))] == text[:38]
    assert text[slice(*best_window(text, spans, weights, 70))] == text[:70]
    long = "So much is said before the point of it all is made in one sentence, even the fox."
    spans = np.array([[long.index("fox"), long.index("fox") + 3]])
    start, end = best_window(long, spans, np.ones((1, 1), np.float32), 30)
    assert end == len(long) and long[start - 1] == " " and end - start <= 30


def test_windows_follow_what_matches_where_more_is_said_there() -> None:
    words = "How wide is a token? " + "It is made when asked. " * 2 + "Tokens are 27 bytes long."
    places = [words.index(part) for part in ("wide", "27")]
    spans = np.array([[place, place + 2] for place in places])
    # The second query token matches the answer only; the first is said before it.
    weights = np.array([[0.6, 0.3], [0, 0.2]], dtype=np.float32)
    assert "27 bytes" in words[slice(*best_window(words, spans, weights, 30))]


def test_snippets_leave_out_the_heading_that_is_shown_above() -> None:
    text = "4.2. Retiring\n\nOrphan all your packages. Then write a goodbye to the list."
    tokens = [Token("Retiring", (5, 13)), Token("Orphan", (15, 21)), Token("list", (67, 71))]
    embedding = np.eye(3, dtype=np.float32)
    query = Query("retiring", embedding[:1], (Token("retiring", (0, 8)),))
    passage = MatchedPassage("d", 100, text, tokens, embedding, ("Duties", "4.2.  Retiring"))
    assert snippet(query, passage, 30) == (115, 140)
    assert snippet(query, passage, 300) == (115, 100 + len(text))
    without = MatchedPassage("d", 100, text, tokens, embedding, ("Duties",))
    assert snippet(query, without, 30)[0] == 100
    alone = MatchedPassage("d", 0, "Retiring", [Token("x", (0, 8))], embedding[:1], ("Retiring",))
    assert snippet(query, alone, 30) == (0, 8)


def test_shares_are_of_what_the_words_add() -> None:
    query = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0]], dtype=np.float32)
    tokens = (Token("a", (0, 1)), Token("[MASK]", None), Token("b", (2, 3)), Token("c", (4, 5)))
    embedding = np.array([[0.6, 0.8]], dtype=np.float32)
    passage = MatchedPassage("d", 0, "x", [Token("x", (0, 1))], embedding)
    found = explain_match(Query("a b c", query, tokens), passage)
    # By hand: 0.6 + 1 + 0.8 - 0.6 is the score, of which the words that match add 1.4.
    assert found.score == pytest.approx(1.8)
    assert [m.share for m in found.matches] == pytest.approx([0.6 / 1.4, 0, 0.8 / 1.4, 0])
    none = explain_match(Query("a b c", query[1:2], tokens[1:2]), passage)
    assert none.score == pytest.approx(1) and [m.share for m in none.matches] == [0]


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    tokens = (Token("x", (0, 1)),) * 4
    query, embedding = Query("x x", unit_rows(rng, 2, 8), tokens[:2]), unit_rows(rng, 3, 8)
    with pytest.raises(InvalidInputError, match="one vector a token, got 2 for 2 query tokens and"):
        explain_match(query, MatchedPassage("a", 0, "x", tokens, embedding))
    with pytest.raises(InvalidInputError, match="no token vectors"):
        explain_match(query, MatchedPassage("a", 0, "x", [], embedding[:0]))
    with pytest.raises(InvalidInputError, match="length must be a whole number >= 1"):
        best_window("text", np.zeros((0, 2), np.int64), np.zeros((0, 0), np.float32), 0)

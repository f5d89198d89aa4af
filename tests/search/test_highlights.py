"""What is marked: whole words, rare ones more, stop words only where there is nothing else."""

from __future__ import annotations

import pytest

from pocket_colbert import Encoder
from pocket_colbert.search.explanation import Explanation, MatchedPassage, explain_match
from pocket_colbert.search.highlights import whole_word

TEXT = "The roof is paid for by the owner: it is on the house, said Mr. Zimmermann."


def _explained(encoder: Encoder, query: str, text: str = TEXT) -> Explanation:
    (embedding,) = encoder.encode_document([text])
    tokens = encoder.document_tokens(text)
    return explain_match(encoder.query(query), MatchedPassage("d", 0, text, tokens, embedding))


def test_stop_words_and_punctuation_are_not_marked(encoder: Encoder) -> None:
    weights = {
        match.query_token: match.weight
        for match in _explained(encoder, "who is on the roof?").matches
    }
    assert weights["roof"] > 0.3
    assert [weights[word] for word in ("who", "is", "on", "the", "?")] == [0] * 5
    assert weights["[CLS]"] == weights["[MASK]"] == 0


def test_rare_words_weigh_more(encoder: Encoder) -> None:
    matches = _explained(encoder, "did Zimmermann say house").matches
    weights = {match.query_token: match.weight for match in matches}
    pieces = [match.weight for match in matches if match.query_token in "Zimmermann"]
    assert len(set(pieces)) == 1  # whatever pieces the name is cut into
    assert pieces[0] > weights["house"] > 0


def test_a_query_of_stop_words_is_marked_all_the_same(encoder: Encoder) -> None:
    matches = _explained(encoder, "is it on?").matches
    weights = {match.query_token: match.weight for match in matches}
    assert [weights[word] for word in ("is", "it", "on", "?")] == [1, 1, 1, 0]
    assert {match.weight for match in _explained(encoder, "?").matches if match.query_span} == {1}


def test_a_stop_word_in_the_text_is_not_marked(encoder: Encoder) -> None:
    matches = _explained(encoder, "roof", "the of and in is").matches
    assert [match.weight for match in matches if match.query_token == "roof"] == [0]


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("say Zimmermann.", (8, 10), "Zimmermann"),
        ("say Zimmermann.", (14, 15), "."),
        ("e\u0301te\u0301 fini", (0, 1), "e\u0301te\u0301"),
        ("snake_case rules", (0, 2), "snake_case"),
        ("東京の塔", (0, 1), "東"),
        ("東京Tower塔", (3, 4), "Tower"),
        ("", (0, 0), ""),
    ],
)
def test_spans_are_widened_to_words(text: str, span: tuple[int, int], expected: str) -> None:
    assert text[slice(*whole_word(text, span))] == expected

"""What is marked: whole words, rare ones more, stop words only where there is nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from pocket_colbert import Encoder, Token
from pocket_colbert.search.explanation import Explanation, MatchedPassage, explain_match
from pocket_colbert.search.highlights import Words, whole_word, word_weights

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


def test_a_word_is_the_same_from_each_of_its_tokens() -> None:
    text = "un-do undoing 東京 re_done"
    parts = [(0, 2), (2, 3), (3, 5), (6, 8), (8, 10), (10, 13), (14, 15), (15, 16), (17, 20),
             (20, 24)]  # fmt: skip
    rarities = [0.5, 0.9, 0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.1, 0.12]
    tokens = [
        Token("[CLS]", None),
        *(
            Token(text[start:end], (start, end), rarity)
            for (start, end), rarity in zip(parts, rarities, strict=True)
        ),
        Token("[SEP]", None),
    ]
    # The hyphen is none, CJK characters are words of their own, and the last is a stop word.
    expected = pytest.approx([0, 0.5, 0, 0, 0.7, 0.7, 0.7, 0.4, 0.6, 0, 0, 0])
    assert word_weights(tokens).tolist() == expected
    for order in (range(12), range(11, -1, -1), [5, 4, 6, 10, 9, 0, 1, 2, 3, 7, 8, 11]):
        words = Words(tokens)
        weights = {number: words.weight(number) for number in order}
        assert [weights[number] for number in range(12)] == expected
    # Only tokens that may be of the same word are made.
    made: list[int] = []

    class Counting(list[Token]):
        def __getitem__(self, number: Any) -> Any:
            made.append(number)
            return super().__getitem__(number)

    assert Words(Counting(tokens)).weight(5) == pytest.approx(0.7)
    assert sorted(made) == [3, 4, 5, 6, 7]

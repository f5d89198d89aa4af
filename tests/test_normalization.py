"""Texts as keywords are indexed and as models read them."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert import Encoder
from pocket_colbert.normalization import for_keywords, for_model, runs_of

ALIKE = [
    ("an ex\u00adam\u00adple", "an example"),
    ("zero\u200bwidth", "zerowidth"),
    ("\ufeffde\ufb01ne the \ufb02ow", "define the flow"),
    ("\uff30\uff59\uff54\uff48\uff4f\uff4e\uff13", "Python3"),
    ("\u2167 \u33a1 \U0001d401old", "VIII m2 Bold"),
]
TEXTS = st.text(
    st.sampled_from("ab e\u0301é1 \u00ad\u200b\ufb01\ufb03\uff21\uff76\uff9e\u33a1\ufdf2中ße\u2167")
    | st.characters(codec="utf-8"),
    max_size=30,
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("tiny", threads=1)


@pytest.mark.parametrize(("written", "meant"), ALIKE)
def test_forms_of_one_text_are_one_to_the_model_and_to_keywords(
    encoder: Encoder, written: str, meant: str
) -> None:
    assert for_model(written)[0] == meant
    assert for_keywords(written).split() == for_keywords(meant.lower()).split()
    np.testing.assert_array_equal(*encoder.encode_document([written, meant]))
    np.testing.assert_array_equal(*encoder.encode_query([written, meant]))


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_every_character_knows_where_it_is_from(text: str) -> None:
    plain, origins = for_model(text)
    if origins is None:
        assert plain == text
        return
    assert len(origins) == len(plain) + 1 and origins[-1] == len(text)
    assert (np.diff(origins) >= 0).all() and origins[0] >= 0
    for number, letter in enumerate(plain):
        source = text[origins[number] : origins[number] + 2]
        assert letter in source or letter in unicodedata.normalize("NFKC", source)
    assert for_model(plain)[0] == plain


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_spans_of_tokens_are_in_the_text_as_it_was_written(encoder: Encoder, text: str) -> None:
    tokens = encoder.document_tokens(text)
    spans = [token.span for token in tokens if token.span is not None]
    assert spans == sorted(spans)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    for token in tokens:
        if token.span is not None:
            assert token.label == text[slice(*token.span)]


def test_a_span_covers_what_was_typeset(encoder: Encoder) -> None:
    text = "The ex\u00adam\u00adple is \ufb01ne"
    spans = [token.span for token in encoder.document_tokens(text) if token.span]
    assert [text[slice(*span)] for span in spans] == [
        "The",
        "ex\u00adam\u00adple",
        "is",
        "\ufb01ne",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("مُحَمَّد الكِتَاب", "محمد كتاب"),
        ("أحمد إلى آخره", "احمد الي اخره"),
        ("مدرسة وال\u0640\u0640مدرسة", "مدرسه مدرسه"),
        ("می\u200cخواهم", "میخواهم"),
        ("ЁЛКА", "елка"),
        ("STRASSE Łódź", "straße lodz"),
        ("İSTANBUL ısı", "istanbul isi"),
        ("ΑΘΗΝΑ Αθήνα", "αθηνα αθηνα"),
        ("שָׁלוֹם", "שלום"),
        ("\uff76\uff9e\uff97\uff7d", "ガラス"),
        (unicodedata.normalize("NFD", "한국어 문서"), "한국어 문서"),
        (unicodedata.normalize("NFD", "Việt Nam"), "Việt Nam"),
        ("\ufee3\ufea4\ufee4\ufeaa", "محمد"),
    ],
)
def test_spellings_of_one_word_are_one(one: str, other: str) -> None:
    assert for_keywords(one).split() == for_keywords(other).split()


def test_runs_without_spaces_are_cut_into_pieces_that_overlap() -> None:
    assert for_keywords("東京都に3月").split() == ["東京", "京都", "都に", "に", "3", "月"]
    assert for_keywords("한국어 책").split() == ["한국", "국어", "어", "책"]
    assert for_keywords("ไทย").split() == ["ไทย", "ทย", "ย"]
    assert for_keywords("東京", runs=False) == "東京"
    assert runs_of("ios東京") == [("ios", 0), ("東京", 2)]


def test_vietnamese_words_keep_their_accents_beside_the_plain_form() -> None:
    assert for_keywords("Hà Nội").split() == ["ha", "ha2", "noi", "no56i"]
    assert for_keywords("Hà Nội", query=True).split() == ["ha2", "no56i"]
    assert for_keywords("café").split() == ["café"]  # SQLite folds it


def test_plain_text_stays_as_it_is() -> None:
    for text in ("plain text, 1 < 2", "café “quoted” — naïve"):
        assert for_keywords(text) is text and for_model(text) == (text, None)

"""How much of a text a model can read, judged by the tokens that its tokenizer makes of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.normalization import marked_share

FOREIGN = 0.5
"""What counts of a text whose letters the model knows, and whose words it does not."""

_PIECES = 1.4
"""Tokens a word has on average from which on many words are cut into pieces. Nine of ten texts in
languages that a model for English was not made for are above; English about biology is, too."""

_FUNCTION_WORDS = frozenset(
    "the and of that with this from which are not you can will your when what how where been "
    "their there they these would about into than other only also its".split()
)
"""Frequent words of English that other languages in its letters do not have, or seldom."""

_FEW = 0.05
"""A tenth or more of the words of text in English are these; in other languages mostly none."""

_MARKED = 0.03
"""Share of the letters of Vietnamese alone in a text; there are 8 to 12 % of them in Vietnamese."""

_HOMOGRAPHS = 0.3
"""What counts of a text in Vietnamese where the tokenizer drops accents: words become others."""

_SCRIPTS = {
    "ar": "ARABIC", "fa": "ARABIC", "ur": "ARABIC", "ps": "ARABIC", "ckb": "ARABIC",
    "ru": "CYRILLIC", "uk": "CYRILLIC", "bg": "CYRILLIC", "be": "CYRILLIC", "mk": "CYRILLIC",
    "sr": "CYRILLIC LATIN", "kk": "CYRILLIC", "ky": "CYRILLIC", "mn": "CYRILLIC", "tg": "CYRILLIC",
    "el": "GREEK", "he": "HEBREW", "yi": "HEBREW", "hy": "ARMENIAN", "ka": "GEORGIAN",
    "am": "ETHIOPIC", "ti": "ETHIOPIC", "hi": "DEVANAGARI", "mr": "DEVANAGARI", "ne": "DEVANAGARI",
    "sa": "DEVANAGARI", "bn": "BENGALI", "as": "BENGALI", "pa": "GURMUKHI", "gu": "GUJARATI",
    "or": "ORIYA", "ta": "TAMIL", "te": "TELUGU", "kn": "KANNADA", "ml": "MALAYALAM",
    "si": "SINHALA", "th": "THAI", "lo": "LAO", "my": "MYANMAR", "km": "KHMER", "bo": "TIBETAN",
    "ko": "HANGUL CJK", "zh": "CJK BOPOMOFO", "ja": "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA",
}  # fmt: skip
"""First words of the names of the characters that a language is written in; Latin for others."""

_CHARACTERS = 1_000
"""Fewer tokens are those of a model that reads letters."""

_SYLLABLES = {"CJK", "HANGUL", "HIRAGANA", "KATAKANA"}
"""Scripts of which one character can be a word."""


class Readability:
    """Judges texts by the letters that are in tokens which mean something to the model.

    A model that was not made for a language has no tokens for its words: they fall into single
    letters, or are unknown. A number per token is worked out when a text first has it, so that
    loading a model takes no longer.
    """

    def __init__(self, backend: Any, languages: Sequence[str], ignored: Sequence[int]) -> None:
        """Begin.

        Args:
            backend: The tokenizer, of the library `tokenizers`.
            languages: Codes of the languages that the model was made for; () when unknown, then
                any script counts of which the tokenizer has more than letters.
            ignored: Ids of tokens that are no part of a text: markers.
        """
        self._backend = backend
        self._languages = tuple(code.partition("-")[0].partition("_")[0] for code in languages)
        self._scripts = _scripts_of(self._languages)
        self._size = backend.get_vocab_size()
        # Letters, those the model can read, and what counts as pieces, words and function words.
        self._table = np.zeros((self._size, 5), np.int16)
        self._known = np.zeros(self._size, bool)
        unknown = map(backend.token_to_id, ("[UNK]", "<unk>"))
        self._unknown = {number for number in unknown if number is not None}
        special = {
            number
            for number, token in backend.get_added_tokens_decoder().items()
            if token.special and number not in self._unknown
        }
        self._drops_accents = _drops_accents(backend)
        signs = ("\u0120", "\u2581")
        self._sign = next((s for s in signs if backend.token_to_id(f"{s}the") is not None), None)
        self._ignored = special | {number for number in ignored if number not in self._unknown}

    def of(self, text: str, input_ids: NDArray[np.int64]) -> float:
        """Return how much of a text the model can read, from 0 to 1.

        Args:
            text: The text.
            input_ids: (num_tokens,) int64, its tokens.

        Returns:
            The share of its letters that are in tokens the model knows as more than a letter, half
            of it where the words are those of another language; 1 for a text without letters.
        """
        new = input_ids[~self._known[input_ids]]
        for number in set(new.tolist()):
            self._table[number] = self._described(number)
            self._known[number] = True
        letters, read, pieces, words, function_words = self._table[input_ids].sum(axis=0).tolist()
        if not letters or not any(map(str.isalpha, text)):  # numbers, emoji
            return 1.0
        share = float(read / letters)
        if self._drops_accents and marked_share(text) > _MARKED:
            share *= _HOMOGRAPHS
        foreign = (
            self._languages == ("en",)
            and pieces > _PIECES * words
            and function_words < _FEW * words
        )
        share = share * FOREIGN if foreign else share
        return max(share, FOREIGN) if text.isascii() else share  # abbreviations, and mistyped words

    def _described(self, number: int) -> tuple[int, int, int, int, int]:
        """Return what a token adds to letters, read letters, pieces, words and function words."""
        if number in self._unknown:
            return 2, 0, 1, 1, 0
        token = self._backend.id_to_token(number)
        if token is None or number in self._ignored:
            return 0, 0, 0, 0, 0
        wordpiece = token.startswith("##")
        text = token[2:] if wordpiece else self._backend.decode([number]) or token
        letters = [letter for letter in text if letter.isalpha()]
        if "\ufffd" in text:  # a part of a character
            return 1, 0, 1, 0, 0
        if not letters:
            return 0, 0, 0, 0, 0
        starts = not wordpiece and self._starts_word(token)
        if self._size < _CHARACTERS:
            return len(letters), len(letters), 1, int(starts), 0
        if len(letters) == 1 and letters[0].isascii():
            # "a" is a word, and any letter can stand for something.
            return (0, 0, 1, 1, 0) if starts else (1, 0, 1, 0, 0)
        script = _script(letters[0])
        known = not self._scripts or script in self._scripts
        whole = len(letters) > 1 or script in _SYLLABLES
        function_word = starts and text.strip().lower() in _FUNCTION_WORDS
        return len(letters), len(letters) * (known and whole), 1, int(starts), int(function_word)

    def _starts_word(self, token: str) -> bool:
        """Say whether a token begins a word, by the sign that the tokenizer has for it."""
        return self._sign is None or token.startswith(self._sign)


def _drops_accents(backend: Any) -> bool:
    normalizer = backend.normalizer
    return normalizer is not None and normalizer.normalize_str("\u1ec7") == "e"


def _scripts_of(languages: Sequence[str]) -> frozenset[str]:
    names = (_SCRIPTS.get(language, "LATIN").split() for language in languages)
    return frozenset(name for of_language in names for name in of_language)


@cache
def _script(letter: str) -> str:
    """Return the script of a letter, as its Unicode name says."""
    return unicodedata.name(letter, "").partition(" ")[0]

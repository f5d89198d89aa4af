"""Texts without what only their typesetting needs: as keywords are indexed, and as models read.

A soft hyphen, a zero-width space, a ligature or a full-width letter looks like the word that it is
part of, and must be found like it.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

_INVISIBLE = "\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
"""Soft hyphen, zero-width space, word joiner, byte order mark, and marks of direction."""

_JOINERS = "\u200c\u200d"
"""They part or join letters of Persian and Indic words; models may have learnt them."""

_FORMS = (
    "\u0132\u0133\u013f\u0140\u0149\u017f\u01c4-\u01cc\u01f1-\u01f3"  # digraphs, long s
    "\u02b0-\u02b8\u1d2c-\u1d6a\u2070\u2071\u2074-\u208e\u2090-\u209c"  # raised and lowered
    "\u2100-\u2121\u2123-\u2125\u2128-\u213b\u2145-\u2149\u2150-\u217f\u2189"  # letterlike, numbers
    "\u2460-\u24ea\u2e9f\u2ef3\u2f00-\u2fd5\u3036\u3038-\u303a\u3131-\u318e\u3192-\u319f"
    "\u3200-\u33ff\uf900-\ufaff\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufb4f\ufb50-\ufdff"
    "\ufe70-\ufefc\uff01-\uffee\U0001d400-\U0001d7ff\U0001ee00-\U0001eeff\U0001f100-\U0001f16c"
    "\U0002f800-\U0002fa1d"
)
"""Compatibility forms of letters, digits and punctuation. Those of Latin-1, such as the raised 2,
are typed rather than typeset, and models know them: they stay."""

_FOR_MODEL = re.compile(f"[{_INVISIBLE}]+|[\uff66-\uff9d][\uff9e\uff9f]|[{_FORMS}]")

SPACELESS = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\U00020000-\U0003ffff"
"""Han and kana, as a class of a regular expression."""
_HANGUL = "\u1100-\u11ff\uac00-\ud7ff"
_SOUTH_EAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\uaa60-\uaa7f"
"""Thai, Lao, Burmese and Khmer, where a syllable takes several characters."""

_RUNS = re.compile(f"[{SPACELESS}{_HANGUL}]+|[{_SOUTH_EAST}]+")
_SOUTH_EAST_RUN = re.compile(f"[{_SOUTH_EAST}]")
_PAIR, _TRIPLE = 2, 3

_MARKS = re.compile("[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]")
"""Accents, and points of Hebrew."""
_ARABIC_ARTICLE = re.compile("(?<!\\w)(?:وال|بال|كال|فال|ال|لل)(?=\\w{3})")

_LETTERS = {
    **dict.fromkeys(map(ord, "\u0640\u0670")),  # the bar that stretches Arabic words, a vowel
    **dict.fromkeys([*range(0x64B, 0x660), *range(0x6D6, 0x6DD), *range(0x6DF, 0x6E9)]),
    **dict.fromkeys(range(0x6EA, 0x6EE)),
    **{ord(letter): "ا" for letter in "أإآٱ"},
    ord("ى"): "ي", ord("ی"): "ي", ord("ة"): "ه", ord("ک"): "ك",
    ord("ё"): "е", ord("ı"): "i", ord("ł"): "l", ord("ø"): "o", ord("đ"): "d", ord("ð"): "d",
    ord("æ"): "ae", ord("œ"): "oe", ord("þ"): "th", ord("ħ"): "h",
}  # fmt: skip
"""Spellings of one word that people mix, when letters are small. None is left out."""

_VIETNAMESE = re.compile("[\u01a1\u01b0\u1ea0-\u1ef9]")
"""Small letters that no other large language has."""
_ACCENTED = re.compile("\\w*[^\\W\0-\x7f]\\w*")
_ACCENTS = str.maketrans("\u0301\u0300\u0309\u0303\u0323\u0302\u031b\u0306đ", "123456789")
"""Digits that people type for the accents of Vietnamese, where nothing else is at hand (VNI)."""

_REMOVED = re.compile(f"[{_INVISIBLE}{_JOINERS}]+")
_SIGNS = re.compile("[\u2120\u2122]")
"""SM and TM, which are no part of the word before them."""

_OTHER = re.compile(
    "[^\0-\x7f\xa0-\xa9\xab\xac\xae-\xb1\xb4-\xb8\xbb\xbf-\xc5\xc7-\xcf\xd1-\xd7\xd9-\xdd"
    "\xe0-\xe5\xe7-\xef\xf1-\xf7\xf9-\xfd\xff\u2010-\u2027\u2030-\u203a\u20ac\u2190-\u21ff"
    "\u2500-\u259f]"
)
"""What is in no text that the index's own rules suffice for: they fold accents of Latin letters."""


def for_model(text: str) -> tuple[str, NDArray[np.int64] | None]:
    """Return a text as it is given to a model's tokenizer.

    Args:
        text: The text.

    Returns:
        The text without invisible characters and with plain letters for compatibility forms, and
        which character of the original each of its characters is from, as (length + 1,) int64, the
        last one being the original's length; None where nothing has changed.
    """
    if text.isascii() or _OTHER.search(text) is None or _FOR_MODEL.search(text) is None:
        return text, None
    parts: list[str] = []
    origins: list[NDArray[np.int64]] = []
    done = 0
    for match in _FOR_MODEL.finditer(text):
        start, end = match.span()
        plain = _REMOVED.sub("", unicodedata.normalize("NFKC", match.group()))
        parts += [text[done:start], plain]
        origins += [np.arange(done, start), np.full(len(plain), start)]
        done = end
    parts.append(text[done:])
    origins.append(np.arange(done, len(text) + 1))
    return "".join(parts), np.concatenate(origins).astype(np.int64)


def for_keywords(
    text: str,
    *,
    runs: bool = True,
    query: bool = False,
    vietnamese: bool = False,
    accents: bool = False,
) -> str:
    """Return a text as its words are indexed and looked for.

    Letters are small, without accents and in their plain forms; spellings that people mix are one.
    Languages that are written without spaces become overlapping pieces: two characters of Chinese,
    Japanese and Korean, three of Thai, Lao, Burmese and Khmer, and fewer at the end of a run.
    Vietnamese, where accents tell most words apart, has each word without and with them, as digits.

    Args:
        text: The text.
        runs: Whether to cut runs of characters without spaces.
        query: Whether it is a query: words of Vietnamese stand for themselves only.
        vietnamese: Whether it is a part of a text in Vietnamese; otherwise its letters tell.
        accents: Whether to take accents off all Latin letters. SQLite does so for words, but not
            for pieces of three characters.

    Returns:
        Words, with spaces and punctuation between them.
    """
    if text.isascii() or not (accents or vietnamese or _OTHER.search(text)):
        return text
    text = _SIGNS.sub(" ", _REMOVED.sub("", text))
    text = unicodedata.normalize("NFKC", text).casefold()
    if vietnamese or _VIETNAMESE.search(text):
        before = "" if query else "\\g<0> "
        text = _ACCENTED.sub(lambda word: word.expand(before) + _digits(word.group()), text)
    text = unicodedata.normalize("NFD", text)
    # Composed again, as the voiced kana and the syllables of Korean are characters of their own.
    text = unicodedata.normalize("NFC", _MARKS.sub("", text)).translate(_LETTERS)
    text = _ARABIC_ARTICLE.sub("", text)
    return _RUNS.sub(_cut, text) if runs else text


def is_vietnamese(text: str) -> bool:
    """Say whether a text has letters that only Vietnamese has."""
    return _VIETNAMESE.search(unicodedata.normalize("NFC", text).lower()) is not None


def marked_share(text: str) -> float:
    """Return the share of the characters of a text that only Vietnamese has."""
    if text.isascii():
        return 0.0
    return len(_VIETNAMESE.findall(unicodedata.normalize("NFC", text).lower())) / len(text)


def _digits(word: str) -> str:
    """Write a word of Vietnamese without accents, and with digits for them."""
    return unicodedata.normalize("NFD", word).translate(_ACCENTS)


def runs_of(word: str) -> list[tuple[str, int]]:
    """Divide a word into runs of characters without spaces and the rest.

    Args:
        word: A word as `for_keywords` writes it without cutting runs.

    Returns:
        The parts, each with the number of characters of a piece of it; 0 for the rest.
    """
    parts, done = [], 0
    for match in _RUNS.finditer(word):
        parts += [(word[done : match.start()], 0), (match.group(), _size(match.group()))]
        done = match.end()
    parts.append((word[done:], 0))
    return [part for part in parts if part[0]]


def _size(run: str) -> int:
    """Return how many characters make a piece of a run."""
    return _TRIPLE if _SOUTH_EAST_RUN.match(run) else _PAIR


def _cut(match: re.Match[str]) -> str:
    run = match.group()
    size = _size(run)
    return f" {' '.join(run[n : n + size] for n in range(len(run)))} "

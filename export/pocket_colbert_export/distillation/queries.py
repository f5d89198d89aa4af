"""Queries for training: read, made from texts that have none, and mistyped."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pocket_colbert_export.errors import TrainingTextError
from pocket_colbert_export.text_files import read_lines, read_objects

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_LONGEST_QUERY = 300
"""Characters of a query made from a text."""
_SHORTEST_QUERY = 3
"""Words that a sentence needs to serve as one."""

_DOCSTRING = re.compile(r'"""(.+?)"""|\'\'\'(.+?)\'\'\'', re.DOTALL)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n{2,}")


@dataclass(frozen=True)
class Pair:
    """A query and a passage that answers it, or belongs to it as a title does."""

    query: str
    passage: str


def read_queries(path: Path) -> list[str]:
    """Read queries that have no passage.

    Args:
        path: `.json` (a list of texts), `.jsonl` (objects with `query`) or `.txt` (one a line);
            each may be gzipped.

    Returns:
        The queries that are not empty, without repetitions, in the order of the file.

    Raises:
        TrainingTextError: The file is missing, is not of that form, or holds no query.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".json"):
        texts = _list_of_texts(path)
    elif name.endswith(".jsonl"):
        texts = []
        for where, row in read_objects(path, TrainingTextError):
            if not isinstance(row.get("query"), str):
                raise TrainingTextError(
                    f"{where}: expected a text under 'query', got the keys {sorted(row)}."
                )
            texts.append(row["query"])
    else:
        texts = [line for _, line in read_lines(path, TrainingTextError)]
    queries = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if not queries:
        raise TrainingTextError(f"{path} holds no query.")
    return queries


def _list_of_texts(path: Path) -> list[str]:
    if not path.is_file():
        raise TrainingTextError(f"no file at {path}.")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            values = json.load(stream)
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise TrainingTextError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TrainingTextError(f"{path} must hold a JSON list of texts.")
    return values


def pair_from_text(text: str, title: str | None = None) -> Pair | None:
    """Make a query for a text that comes without one.

    A title serves as it is. Otherwise what people would search by is taken out of the text, so
    that finding it takes more than the same words: a docstring, the first heading, or the first
    sentence.

    Args:
        text: The text.
        title: Its title, if any.

    Returns:
        The query and what is left of the text, or None when nothing in it serves as a query.
    """
    text = text.strip()
    if title and title.strip():
        return Pair(title.strip(), text) if text else None
    for pattern in (_DOCSTRING, _HEADING):
        found = pattern.search(text)
        if found:
            asked = next(group for group in reversed(found.groups()) if group)
            query = " ".join(_SENTENCE.split(asked.strip())[0].split())
            return _pair(query, text[: found.start()] + text[found.end() :])
    parts = _SENTENCE.split(text, maxsplit=1)
    if len(parts) < 2 or len(parts[0].split()) < _SHORTEST_QUERY:
        return None
    return _pair(" ".join(parts[0].split()), parts[1])


def _pair(query: str, passage: str) -> Pair | None:
    query, passage = query[:_LONGEST_QUERY].strip(), passage.strip()
    return Pair(query, passage) if query and passage else None


def mistype(text: str, generator: np.random.Generator) -> str:
    """Return a text with one typing error in one of its words of four letters or more.

    A letter is hit beside its key, left out, doubled, or changes places with the next one. First
    letters are spared, as people mostly get them right (Yannakoudakis & Fawthrop 1983). A text
    without such a word comes back as it is.

    Args:
        text: The text.
        generator: Source of the random numbers.
    """
    words = [found for found in re.finditer(r"[^\W\d_]{4,}", text)]
    if not words:
        return text
    word = words[int(generator.integers(len(words)))]
    place = int(generator.integers(word.start() + 1, word.end()))
    letter = text[place]
    kind = int(generator.integers(4))
    if kind == 0:
        near = neighbours(letter)
        changed = near[int(generator.integers(len(near)))] if near else ""
        return text[:place] + changed + text[place + 1 :]
    if kind == 1:
        return text[:place] + text[place + 1 :]
    if kind == 2:
        return text[:place] + letter + text[place:]
    if place + 1 == word.end():
        place -= 1
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def neighbours(letter: str) -> str:
    """Return the letters beside and diagonal to a letter on a QWERTY keyboard, in its case."""
    lower = letter.lower()
    for number, row in enumerate(_KEYBOARD):
        column = row.find(lower)
        if column < 0:
            continue
        near = row[max(column - 1, 0) : column] + row[column + 1 : column + 2]
        if number:
            near += _KEYBOARD[number - 1][column : column + 2]
        if number + 1 < len(_KEYBOARD):
            near += _KEYBOARD[number + 1][max(column - 1, 0) : column + 1]
        return near.upper() if letter.isupper() else near
    return ""


def altered(
    texts: Sequence[str], typing_errors: float, generator: np.random.Generator
) -> list[str]:
    """Return texts of which some have a typing error and a few are in capitals.

    Args:
        texts: The texts.
        typing_errors: Share that gets an error; a third as many are written in capitals.
        generator: Source of the random numbers.
    """
    result = []
    for text in texts:
        draw = generator.random()
        if draw < typing_errors:
            result.append(mistype(text, generator))
        elif draw < typing_errors * 4 / 3:
            result.append(text.upper())
        else:
            result.append(text)
    return result

"""The rules that arguments keep, each written once: rule, value got, next step."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import replace
from typing import Any

from pocket_colbert.errors import DocumentNotFoundError, InvalidInputError
from pocket_colbert.metadata import checked_json
from pocket_colbert.types import Document, Section

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def shown(value: object) -> str:
    """Return a value as a message shows it: in Python's form, and short however large it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python does not print whole numbers of some thousand digits
        return f"{type(value).__name__} of a great size"


def require(condition: bool, message: str) -> None:
    """Raise InvalidInputError with a message unless a condition holds."""
    if not condition:
        raise InvalidInputError(message)


def is_whole_number(value: object, least: int) -> bool:
    """Say whether a value is an int, and no bool, of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any) -> bool:
    """Say whether a value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_whole_number(
    name: str, value: object, *, least: int = 1, most: int | None = None, optional: bool = False
) -> None:
    """Raise InvalidInputError unless a value is a whole number in a range.

    Args:
        name: What the message calls it.
        value: The value.
        least: The smallest that is allowed.
        most: The largest, None for any.
        optional: Whether None is allowed too.
    """
    if value is None and optional:
        return
    if is_whole_number(value, least) and (most is None or value <= most):  # type: ignore[operator]
        return
    allowed = f">= {least}" if most is None else f"from {least} to {most}"
    raise InvalidInputError(
        f"{name} must be {'null or ' * optional}a whole number {allowed}, got {value!r:.40}."
    )


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Raise InvalidInputError unless a value is one of a vocabulary."""
    if not isinstance(value, str) or value not in allowed:
        words = [repr(word) for word in allowed]
        raise InvalidInputError(
            f"{name} must be {', '.join(words[:-1])} or {words[-1]}, got {value!r:.40}."
        )


def check_text(name: str, value: object) -> None:
    """Raise InvalidInputError unless a value is a str."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a string, got {type(value).__name__}.")


def check_query(value: object) -> None:
    """Raise InvalidInputError unless a query is a str that is not blank."""
    check_text("query", value)
    require(str(value).strip() != "", "a query must not be empty; ask for at least one word.")


def check_pool_factor(value: Any) -> None:
    """Raise InvalidInputError unless a value is a finite number >= 1."""
    require(
        is_number(value) and 1 <= value < float("inf"),
        f"pool_factor must be a finite number >= 1, got {value!r}.",
    )


def check_protected_tokens(value: object) -> None:
    """Raise InvalidInputError unless a value is a number of tokens that stay."""
    check_whole_number("num_protected_tokens", value, least=0)


def are_strings(value: object) -> bool:
    """Say whether a value is a tuple of str."""
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def are_languages(value: object) -> bool:
    """Say whether a value is a tuple of language codes such as "en", "pt_BR" or "zh-Hant"."""
    return isinstance(value, tuple) and all(
        isinstance(item, str)
        and item.isascii()
        and item.replace("-", "").replace("_", "").isalnum()
        and 2 <= len(item.replace("_", "-").partition("-")[0]) <= 3
        for item in value
    )


def are_token_ids(value: object) -> bool:
    """Say whether a value is a tuple of whole numbers >= 0."""
    return isinstance(value, tuple) and all(is_whole_number(item, 0) for item in value)


def check_ids(document_ids: Iterable[str], name: str) -> list[str]:
    """Return ids as a list, once each is known to be a text that is not empty."""
    if isinstance(document_ids, str):
        raise InvalidInputError(f"{name} must be a list of strings, got one string.")
    ids = list(document_ids)
    for document_id in ids:
        if not isinstance(document_id, str) or not document_id:
            raise InvalidInputError(f"a document id must be a text, got {document_id!r}.")
    return ids


def check_present(document_ids: Sequence[str], present: Container[str], where: str) -> None:
    """Raise DocumentNotFoundError unless documents of all ids are present."""
    missing = [item for item in document_ids if item not in present]
    if missing:
        raise DocumentNotFoundError(
            f"document ids must be in the {where}, got {missing[0]!r} and {len(missing) - 1} "
            "others that are not."
        )


def checked_document(document: Document) -> Document:
    """Return a copy of a document, once it is known that it reads back as it is stored.

    Raises:
        InvalidInputError: It does not.
    """
    name = f"of {document.document_id!r}"
    for what in ("document_id", "title", "text", "source"):
        value = getattr(document, what)
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"{what} {name} must be a text, got {type(value).__name__}.")
        try:
            (value or "").encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"{what} {name} must be valid Unicode: {error}.") from error
    try:
        back = checked_json(json.dumps(document.metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"metadata {name} must be a JSON object: {error}.") from error
    if not isinstance(back, dict) or back != document.metadata:
        raise InvalidInputError(
            f"metadata {name} must be a JSON object that reads back as it is (texts as keys, "
            f"lists, no tuples), got {document.metadata!r}."
        )
    return replace(document, metadata=back, sections=_checked_sections(document))


def _checked_sections(document: Document) -> tuple[Section, ...]:
    """Return a document's sections as they are stored."""
    name, size = f"sections of {document.document_id!r}", len(document.text or "")
    sections, before = [], -1
    for item in document.sections:
        if not isinstance(item, Section) or not are_strings(item.headings):
            raise InvalidInputError(
                f"{name} must be Section(start, headings), headings being a tuple of texts, "
                f"got {item!r:.80}."
            )
        if not is_whole_number(item.start, 0) or not before < item.start <= size:
            raise InvalidInputError(
                f"{name} must have ascending starts within its {size} characters, "
                f"got {item.start!r} after {max(before, 0)}."
            )
        try:
            "".join(item.headings).encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"{name} must be valid Unicode: {error}.") from error
        sections.append(item)
        before = item.start
    return tuple(sections)


def check_texts(texts: object) -> None:
    """Raise InvalidInputError unless `texts` is a list of strings."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise InvalidInputError(
            f"texts must be a list of strings, got {type(texts).__name__}; "
            "put a single text in a list."
        )
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(
                f"texts must be strings, got {type(text).__name__} at position {position}."
            )


def checked_titles(titles: Sequence[str | None] | None, count: int) -> Sequence[str | None]:
    """Return the titles of texts, once it is known that there is one a text; by default none.

    Raises:
        InvalidInputError: There are more or fewer, or one is no text.
    """
    titles = [None] * count if titles is None else titles
    if (
        isinstance(titles, str)
        or len(titles) != count
        or not all(isinstance(title, str | None) for title in titles)
    ):
        raise InvalidInputError(
            f"titles must be a list of {count} strings or None, one a text, "
            f"got {str(titles)[:60]!r}."
        )
    return titles

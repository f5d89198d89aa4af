"""What to offer to people who do not know yet what they can ask: words of the documents."""

from __future__ import annotations

from collections.abc import Iterator

from pocket_colbert.index.snapshot import Snapshot
from pocket_colbert.types import Document

MOST = 5
_LOOKED_AT = 24
_LONGEST = 70
_CODE = ("code", "config", "log")


def example_questions(snapshot: Snapshot) -> list[str]:
    """Return headings and titles of documents from all over an index, at most `MOST`.

    Only so many documents are read, whatever the index holds.

    Args:
        snapshot: The index as it was after a commit.
    """
    chosen: dict[str, str] = {}
    titles: dict[str, str] = {}
    for document in _sample(snapshot):
        for words in _phrases(document):
            if words.casefold() not in chosen:
                chosen[words.casefold()] = words
                break
        title = " ".join((document.title or "").split())
        if 0 < len(title) <= _LONGEST:
            titles.setdefault(title.casefold(), title)
        if len(chosen) == MOST:
            break
    return list({**chosen, **titles}.values())[:MOST]


def _sample(snapshot: Snapshot) -> Iterator[Document]:
    """Iterate over documents that are far apart, so that they differ."""
    positions = [segment.alive.positions() for segment in snapshot.segments]
    total = sum(map(len, positions))
    count = min(total, _LOOKED_AT)
    for n in range(count):
        # The first, one from the middle, and so on: those that are read first are far apart, too.
        number = (n * total // count + n * (total // 2)) % total
        for segment, here in zip(snapshot.segments, positions, strict=True):
            if number < len(here):
                position = int(here[number])
                yield segment.documents.get([position])[position]
                break
            number -= len(here)


def _phrases(document: Document) -> Iterator[str]:
    """Iterate over what could be asked of a document: headings, or its title, of several words."""
    if document.metadata.get("kind") in _CODE:
        return
    headings = [section.headings[-1] for section in document.sections[:50] if section.headings]
    for words in [*headings, document.title or ""]:
        words = " ".join(words.split())
        if len(words) <= _LONGEST and len(words.split()) > 2:
            yield words

"""What people hold in their hands: documents, passages, tokens and hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PassageHit:
    """A passage of a document that matched.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection(model="tiny")
        >>> notes.add("Bees swarm in May. " * 200 + "Dough needs time to rise. " * 200, ids="all")
        1
        >>> hit = notes.search("How long does dough rise?")[0]
        >>> best = hit.passages[0]
        >>> "Dough" in hit.text[best.start : best.end], len(hit.passages)
        (True, 3)

    Attributes:
        start: Its first character in the document's text.
        end: The character after its last.
        score: MaxSim of the passage alone.
        headings: The heading path that it stands under, outermost first; () where it has none.
        similarities: For each token of the query the best cosine in the passage. Only for the
            best passage of a document, and () where the engine does not say it.
    """

    start: int
    end: int
    score: float
    headings: tuple[str, ...] = ()
    similarities: tuple[float, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Hit:
    """One document that matched, best first in the list it comes in.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection(model="tiny")
        >>> notes.add("Bees swarm in May.", ids="bees", metadata={"year": 2024})
        1
        >>> hit = notes.search("When do bees swarm?")[0]
        >>> hit.document_id, hit.metadata["year"], 0 < hit.score < 32
        ('bees', 2024, True)

    Attributes:
        document_id: The id the document was added under.
        score: What the list is ordered by, larger is better. MaxSim, for every query token the
            best cosine over the tokens of the document's best passage, summed, which is at most
            the number of query tokens; for a hybrid search the fused score or BM25.
        text: The document's text, None when the index holds none.
        title: The document's title, None when it has none.
        metadata: The document's metadata.
        passages: Its best passages by MaxSim, best first; a short document is one passage.
        relevance: How likely it is right, from 0 to 1, on one scale for every kind of search; None
            where that is not known: only a `Retriever` knows it, of documents with texts, for
            models that have a curve.
    """

    document_id: str
    score: float
    text: str | None = None
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    passages: tuple[PassageHit, ...] = ()
    relevance: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the hit as JSON holds it, without the similarities of its passages."""
        values = asdict(self)
        for passage in values["passages"]:
            del passage["similarities"]
        return values


class Hits(list[Hit]):
    """The documents that matched a query, best first.

    Examples:
        >>> from pocket_colbert import Encoder, Retriever
        >>> retriever = Retriever(Encoder.load("tiny"))
        >>> hits = retriever.rerank("When do bees swarm?", ["Dough.", "Bees swarm in May."])
        >>> hits[0].text, hits.truncated
        ('Bees swarm in May.', False)

    Attributes:
        truncated: Whether the end of the query did not fit the model's window and was cut off.
    """

    def __init__(self, hits: Iterable[Hit] = (), truncated: bool = False) -> None:
        super().__init__(hits)
        self.truncated = truncated


Span = tuple[int, int]
"""First character and the one after the last."""


class Section(NamedTuple):
    """Where a section of a document starts, and the headings it stands under.

    Examples:
        >>> from pocket_colbert import Document, Section
        >>> document = Document("d1", "The landlord mends it.", sections=(Section(0, ("Roof",)),))
        >>> document.sections[0].headings
        ('Roof',)

    Attributes:
        start: Its first character in the document's text. It ends where the next one starts.
        headings: Its heading path, outermost first, for example ("Policy", "Source packages").
    """

    start: int
    headings: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """What an index keeps of a document beside its token vectors.

    Examples:
        >>> from pocket_colbert import Document
        >>> Document("d1", "Paris is in France.", "Paris", {"country": "France"}).metadata
        {'country': 'France'}

    Attributes:
        document_id: The id it was added under.
        text: Its text, None when it was added without.
        title: Its title, None when it has none.
        metadata: A JSON object.
        source: Where it was read from, None when that is not known.
        sections: Its sections, with ascending starts; what is before the first has no heading.
    """

    document_id: str
    text: str | None = None
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, eq=False)
class Passage:
    """A part of a document that has token vectors of its own.

    Examples:
        >>> from pocket_colbert import Encoder
        >>> (passage,) = Encoder.load("tiny").encode_passages(["Bees swarm in May."])[0]
        >>> passage.start, passage.end, passage.embedding.shape[1]
        (0, 18, 96)

    Attributes:
        start: Where it starts in the document's text, in characters.
        end: Where it ends.
        embedding: (num_tokens, dim) float32.
        readable: How much of it the model can read, from 0 to 1, judged by its tokens.
    """

    start: int
    end: int
    embedding: NDArray[np.float32]
    readable: float = 1.0


class EncodedDocument(NamedTuple):
    """A document and what an encoder made of it: what is added to an index.

    Examples:
        >>> from pocket_colbert import Document, Encoder, Index, Retriever
        >>> retriever = Retriever(Encoder.load("tiny"), Index(dim=96))
        >>> document, passages = retriever.encode([Document("d1", "Bees swarm in May.")])[0]
        >>> document.document_id, len(passages)
        ('d1', 1)

    Attributes:
        document: The document.
        passages: Its passages, at least one; a short document is one passage.
    """

    document: Document
    passages: Sequence[Passage]


@dataclass(frozen=True)
class Token:
    """A token that has a vector, for people.

    Examples:
        >>> from pocket_colbert import Encoder
        >>> [token.label for token in Encoder.load("tiny").query_tokens("bees swarm")][:4]
        ['[CLS]', '[unused0]', 'bees', 'swarm']

    Attributes:
        label: Its part of the text, or its name if it has none, for example "[CLS]".
        span: Where that part starts and ends in the text, in characters; None when it has none.
        rarity: How rare it is in the text that the model's vocabulary was made from, from 0.02, of
            the most frequent words, to 1.
    """

    label: str
    span: Span | None
    rarity: float = field(default=1.0, compare=False)


@dataclass(frozen=True, eq=False)
class Query:
    """A query that is encoded once and used for searching, snippets and explanations.

    `Encoder.query` makes it.

    Examples:
        >>> from pocket_colbert import Encoder
        >>> query = Encoder.load("tiny").query("When do bees swarm?")
        >>> query.embedding.shape, query.tokens[2].label, query.truncated
        ((32, 96), 'When', False)

    Attributes:
        text: Its text.
        embedding: (query_tokens, dim) float32, read-only.
        tokens: What each row of the embedding stands for.
        lost: How many tokens did not fit the model's window and were cut off.
        weights: (query_tokens,) float32, how much each says about what is asked: rare words much,
            frequent ones little, markers and expansion tokens nothing. Without them no relevance.
        readable: How much of it the model can read, from 0 to 1, judged by its tokens.
    """

    text: str
    embedding: NDArray[np.float32]
    tokens: tuple[Token, ...]
    lost: int = 0
    weights: NDArray[np.float32] | None = None
    readable: float = 1.0

    @property
    def truncated(self) -> bool:
        """Whether its end did not fit the model's window and was cut off."""
        return self.lost > 0


class EncodedTexts(list["NDArray[np.float32]"]):
    """The token vectors of texts, one (num_tokens, dim) float32 array each.

    Examples:
        >>> from pocket_colbert import Encoder
        >>> encoded = Encoder.load("tiny").encode_document(["Bees swarm in May.", "Dough rises."])
        >>> [array.shape[1] for array in encoded], encoded.truncated
        ([96, 96], False)

    Attributes:
        lost: How many tokens of each text did not fit the model's window and were cut off.
        readable: How much of each the model can read, from 0 to 1, judged by its tokens.
    """

    def __init__(
        self,
        arrays: Iterable[NDArray[np.float32]] = (),
        lost: Iterable[int] = (),
        readable: Iterable[float] = (),
    ) -> None:
        super().__init__(arrays)
        self.lost: tuple[int, ...] = tuple(lost)
        self.readable: tuple[float, ...] = tuple(readable)

    @property
    def truncated(self) -> bool:
        """Whether the end of any text was cut off."""
        return any(self.lost)


Value = str | int | float

"""Index files and folders: all of `pocket-colbert index` as one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pocket_colbert.checks import check_whole_number, require
from pocket_colbert.config import (
    CandidateSource,
    Codes,
    IndexConfig,
    InvertedFileUse,
    Keywords,
    Pruning,
    Splitting,
)
from pocket_colbert.errors import IndexExistsError, InvalidInputError
from pocket_colbert.index.directory import is_index, remove_index, replacement
from pocket_colbert.index.index import Index
from pocket_colbert.index.stats import IndexInfo
from pocket_colbert.ingest.folder_walk import FileRules
from pocket_colbert.ingest.incremental import Pace, SyncReport, sync
from pocket_colbert.ingest.left_out import LeftOut, printable_path
from pocket_colbert.ingest.readers import Reading, read_sources, text_to_encode
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.ingest.standard_input import STANDARD_INPUT
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever
from pocket_colbert.source_paths import source_name
from pocket_colbert.storage.manifest import Manifest
from pocket_colbert.types import Document


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """The settings of an index that `index_files` can be given.

    They are fixed when the index is made. None means the default for a new index, and whatever it
    was made with for an existing one.

    Examples:
        >>> from pathlib import Path
        >>> from pocket_colbert import IndexOptions, index_files
        >>> Path("bees.txt").write_text("Bees swarm in May.")
        18
        >>> options = IndexOptions(codes="int8")
        >>> index_files(["bees.txt"], "bees.index", options=options).info.codes
        'int8'

    Attributes:
        codes: See `IndexConfig.codes`.
        keywords: See `IndexConfig.keywords`.
        inverted_file: See `IndexConfig.inverted_file`.
        candidates: See `IndexConfig.candidates`.
        pool_factor: See `Pruning.pool_factor`.
        keep: See `Pruning.keep`.
        max_tokens: See `Pruning.max_tokens`.
        drop_frequent: How many of the most frequent tokens of the documents to drop.
        passage_tokens: See `Splitting.max_tokens`.
        passage_overlap: See `Splitting.overlap`.
    """

    codes: Codes | None = None
    keywords: Keywords | None = None
    inverted_file: InvertedFileUse | None = None
    candidates: CandidateSource | None = None
    pool_factor: float | None = None
    keep: float | None = None
    max_tokens: int | None = None
    drop_frequent: int | None = None
    passage_tokens: int | None = None
    passage_overlap: int | None = None

    def __post_init__(self) -> None:
        check_whole_number("drop_frequent", self.drop_frequent, least=0, optional=True)
        self.config(dim=1)  # checks the others

    @property
    def given(self) -> dict[str, Any]:
        """The options that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def config(
        self, *, dim: int, model: str = "", skiplist_ids: tuple[int, ...] = ()
    ) -> IndexConfig:
        """Return the settings of a new index.

        Args:
            dim: Width of a token vector.
            model: Fingerprint of the model.
            skiplist_ids: The tokens that `drop_frequent` drops.
        """
        values = _options_of(IndexConfig(dim=dim)) | self.given
        return IndexConfig(
            dim=dim,
            model=model,
            codes=values["codes"],
            keywords=values["keywords"],
            inverted_file=values["inverted_file"],
            candidates=values["candidates"],
            pruning=Pruning(
                skiplist_ids=skiplist_ids,
                pool_factor=values["pool_factor"],
                keep=values["keep"],
                max_tokens=values["max_tokens"],
            ),
            splitting=Splitting(
                max_tokens=values["passage_tokens"], overlap=values["passage_overlap"]
            ),
        )

    def check_same(self, config: IndexConfig) -> None:
        """Raise InvalidInputError if an index was made with other options than these."""
        made_with = _options_of(config)
        for name, value in self.given.items():
            if made_with[name] != value:
                raise InvalidInputError(
                    f"the index was made with {name}={made_with[name]}, got {value}; leave the "
                    "option out, or overwrite the index to make it with other options."
                )


def _options_of(config: IndexConfig) -> dict[str, Any]:
    return {
        "codes": config.codes,
        "keywords": config.keywords,
        "inverted_file": config.inverted_file,
        "candidates": config.candidates,
        "pool_factor": config.pruning.pool_factor,
        "keep": config.pruning.keep,
        "max_tokens": config.pruning.max_tokens,
        "drop_frequent": len(config.pruning.skiplist_ids),
        "passage_tokens": config.splitting.max_tokens,
        "passage_overlap": config.splitting.overlap,
    }


@dataclass(frozen=True)
class IndexReport:
    """What a call of `index_files` did.

    Examples:
        >>> from pathlib import Path
        >>> from pocket_colbert import index_files
        >>> Path("bees.txt").write_text("Bees swarm in May.")
        18
        >>> report = index_files(["bees.txt"], "notes.index")
        >>> report.added, report.updated, report.info.documents
        (1, False, 1)

    Attributes:
        folder: The folder of the index.
        updated: Whether an existing index was updated, rather than a new one made.
        added: Number of new documents.
        changed: Number of documents whose text, title or metadata changed.
        unchanged: Number of documents left as they were.
        deleted: Number of documents that the paths no longer have.
        left_out: The files and folders that were left out, and why.
        notes: What was assumed about files that were read, such as their encoding, a line each.
        truncated: Number of passages that did not fit the model's window; what lies beyond it
            cannot be found.
        unread: Number of passages in languages that the model was not made for: keywords find them.
        info: What the index holds now, and its size.
    """

    folder: Path
    updated: bool
    added: int
    changed: int
    unchanged: int
    deleted: int
    truncated: int
    info: IndexInfo
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    unread: int = 0


def index_files(
    paths: Sequence[str | Path],
    into: str | Path,
    *,
    encoder: Encoder | None = None,
    options: IndexOptions | None = None,
    fields: Fields | None = None,
    rules: FileRules | None = None,
    strict: bool = False,
    id_prefix: str = "",
    keep_missing: bool = False,
    overwrite: bool = False,
    moved_from: str | None = None,
    documents: Iterable[Document] = (),
    progress: Callable[[int], None] | None = None,
    pace: Pace | None = None,
) -> IndexReport:
    """Index files and folders of documents, or bring the index of them up to date.

    In an existing index, new and changed documents are encoded, documents that `paths` no longer
    have are deleted, and documents from other paths stay. After an error or an interruption, the
    same call continues where it stopped.

    Examples:
        >>> from pathlib import Path
        >>> from pocket_colbert import index_files
        >>> Path("bees.txt").write_text("Bees swarm in May.")
        18
        >>> index_files(["bees.txt"], "bees.index").added
        1
        >>> index_files(["bees.txt"], "bees.index").unchanged
        1

    Args:
        paths: Files and folders; `read_documents` says which formats are read.
        into: The folder of the index; a new one is made unless an index is there.
        encoder: The encoder; by default that of the bundled model that made the index, and of the
            default model for a new index.
        options: The settings of a new index. They must agree with those of an existing one.
        fields: Names of the keys of JSON lines.
        rules: Which files of folders are read.
        strict: Stop at the first file that cannot be read; otherwise `IndexReport.left_out` names
            it, and what the index holds of it stays.
        id_prefix: Goes in front of every id.
        keep_missing: Keep documents that `paths` no longer have.
        overwrite: Replace an existing index with a new one, in one step at the end.
        moved_from: The source that documents of the one path had before they or the index were
            moved, as `Document.source` has it.
        documents: Further documents, which no path has; they are read once. Their source is "-",
            as that of standard input.
        progress: Called with the number of documents processed, from another thread.
        pace: How often to commit.

    Returns:
        What was done, and what the index holds now.

    Raises:
        CorpusError: A path has no documents, two documents have the same id, or a file cannot be
            read and `strict` is set.
        IndexExistsError: Something that is not an index is at `into`.
        InvalidInputError: An argument is wrong, or the index was made with another model or other
            options.
        IndexFolderError: The index cannot be used.
        OSError: The disk is full or fails.
    """
    require(not isinstance(paths, str), "paths must be a list of paths, got one string.")
    files, folder, options = [Path(path) for path in paths], Path(into), options or IndexOptions()
    exists = _exists(folder)
    update = exists and not overwrite
    require(
        moved_from is None or (update and len(files) == 1),
        "moved_from needs one path and an existing index; leave it out.",
    )
    if encoder is None:
        encoder = Encoder.for_index(Manifest.load(folder).config) if update else Encoder.load()
    truncated_before, unread_before = encoder.truncated, encoder.unread
    reading = Reading(fields or Fields(), rules or FileRules(), strict=strict)
    if update:
        opened = _existing(folder, encoder, options)
    else:
        config = _new_config(files, folder, encoder, options, reading)
        opened = _replaced(folder, config, encoder) if exists else _new(folder, config, encoder)
    with opened as index:
        if moved_from is not None:
            _move_source(index, moved_from, source_name(files[0], folder))
        try:
            synced = sync_files(
                Retriever(encoder, index), files, folder, reading, id_prefix=id_prefix,
                keep_missing=keep_missing, documents=documents, progress=progress, pace=pace,
            )  # fmt: skip
        except (KeyboardInterrupt, SystemExit):
            index.commit()  # keep what is encoded
            raise
        info = index.info()
    return IndexReport(
        folder=folder, updated=update, **asdict(synced),
        truncated=encoder.truncated - truncated_before, info=info,
        left_out=tuple(reading.left_out), notes=tuple(reading.notes),
        unread=encoder.unread - unread_before,
    )  # fmt: skip


def sync_files(
    retriever: Retriever,
    paths: Sequence[Path],
    folder: Path,
    reading: Reading | None = None,
    *,
    id_prefix: str = "",
    keep_missing: bool = False,
    documents: Iterable[Document] = (),
    progress: Callable[[int], None] | None = None,
    pace: Pace | None = None,
) -> SyncReport:
    """Bring an open index up to date with files and folders; see `index_files`.

    Args:
        retriever: Encoder and writable index.
        paths: The files and folders.
        folder: The folder of the index, to which sources are relative.
        reading: How to read; it collects what was left out.
        id_prefix: Goes in front of every id.
        keep_missing: Keep documents that `paths` no longer have.
        documents: See `index_files`.
        progress: Called with the number of documents processed; what it raises ends the call.
        pace: How often to commit.

    Returns:
        The number of documents added, changed, unchanged and deleted.

    Raises:
        CorpusError: A path has no documents, two documents have the same id, or see
            `Reading.strict`.
        InvalidInputError: The retriever has no index that can be written to.
        OSError: The disk is full or fails.
    """
    reading = reading or Reading()
    every, sources = all_documents(paths, folder, reading, documents, id_prefix=id_prefix)

    def keep(document: Document) -> bool:
        return reading.knows(document) or is_unreadable(document, paths, reading.unreadable)

    return sync(
        retriever, every, sources, keep_missing=keep_missing, keep=keep, progress=progress,
        pace=pace,
    )  # fmt: skip


def all_documents(
    paths: Sequence[Path],
    folder: Path,
    reading: Reading,
    documents: Iterable[Document],
    *,
    id_prefix: str,
) -> tuple[Iterator[Document], list[str]]:
    """Return the documents of paths and further ones, and the sources they are from."""
    sources = [source_name(path, folder) for path in paths]
    from_paths = read_sources(paths, folder, reading, id_prefix=id_prefix)
    if isinstance(documents, tuple) and not documents:
        return from_paths, sources
    named = (
        replace(item, document_id=id_prefix + item.document_id, source=STANDARD_INPUT)
        for item in documents
    )
    return chain(from_paths, named), [*sources, STANDARD_INPUT]


def is_unreadable(document: Document, paths: Sequence[Path], failures: Sequence[LeftOut]) -> bool:
    """Return whether a document is from a file, or below a folder, that could not be read."""
    name = document.metadata.get("path")
    if not failures or not isinstance(name, str):
        return False
    candidates = {printable_path(path / name if path.is_dir() else path) for path in paths}
    return any(
        candidate == item.path or candidate.startswith(item.path + os.sep)
        for item in failures
        for candidate in candidates
    )


def _exists(folder: Path) -> bool:
    """Return whether an index is at a path; raise if something else is."""
    if is_index(folder):
        return True
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise IndexExistsError(f"{folder} already exists and is not an index.")
    return False


def _new_config(
    files: Sequence[Path],
    folder: Path,
    encoder: Encoder,
    options: IndexOptions,
    reading: Reading,
) -> IndexConfig:
    skiplist_ids: tuple[int, ...] = ()
    if options.drop_frequent:
        from pocket_colbert.ingest.frequent_tokens import frequent_ids

        reading = replace(reading, left_out=[], notes=[])
        texts = map(text_to_encode, read_sources(files, folder, reading))
        skiplist_ids = frequent_ids(encoder, texts, options.drop_frequent)
    return options.config(
        dim=encoder.dim, model=encoder.card.fingerprint, skiplist_ids=skiplist_ids
    )


@contextmanager
def _existing(folder: Path, encoder: Encoder, options: IndexOptions) -> Iterator[Index]:
    with Index.load(folder, writable=True, threads=encoder.threads) as index:
        options.check_same(index.config)
        yield index


@contextmanager
def _new(folder: Path, config: IndexConfig, encoder: Encoder) -> Iterator[Index]:
    """Make an index; remove it again if an error comes before its first commit."""
    index = Index.create(folder, config, threads=encoder.threads)
    try:
        with index:
            yield index
    except BaseException:
        if index.generation == 0:
            remove_index(folder)
        raise


@contextmanager
def _replaced(folder: Path, config: IndexConfig, encoder: Encoder) -> Iterator[Index]:
    """Make an index that replaces the one in a folder when the block ends without an error."""
    with replacement(folder) as work, Index.create(work, config, threads=encoder.threads) as index:
        yield index


def _move_source(index: Index, old: str, new: str) -> None:
    if not index.change_source(old, new):
        raise InvalidInputError(
            f"no document in {index.folder} is from {old!r}; leave --moved-from out."
        )

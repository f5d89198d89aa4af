"""Training text of `distill`: queries, passages, candidate lists and what teachers say of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Encoder
from pocket_colbert.model.folder import ModelFiles
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert.storage.files import hash_file
from pocket_colbert_export.distillation.candidates import (
    KeywordIndex,
    candidate_lists,
    keyword_index,
    word_ids,
)
from pocket_colbert_export.distillation.pairs import sample_pairs
from pocket_colbert_export.distillation.queries import read_queries
from pocket_colbert_export.distillation.score_store import score_lists
from pocket_colbert_export.distillation.targets import Targets, encode_texts
from pocket_colbert_export.distillation.teacher_folder import teacher_folder
from pocket_colbert_export.distillation.teachers import (
    KeywordTeacher,
    StartTeacher,
    Teacher,
    load_teacher,
)
from pocket_colbert_export.errors import TrainingTextError
from pocket_colbert_export.exporter import Step

_DRAWN = 4
"""Loose queries that are looked at for one that is taken."""


@dataclass(frozen=True)
class Lists:
    """Queries and the passages each is ranked against.

    Attributes:
        queries: Texts, shuffled.
        passages: Texts, each once.
        own: (queries,) position of the passage that belongs to a query, -1 for none.
        candidates: (queries, count) positions of passages, different ones in each row, the
            query's own first.
        query_vectors: (queries, dim) float32 unit rows, the mean of the start's token vectors.
        signals: Names of the teachers' scores.
        scores: (queries, count, signals) float32.
        vectors: The start's token vectors of passages and queries.
    """

    queries: Sequence[str]
    passages: Sequence[str]
    own: NDArray[np.int64]
    candidates: NDArray[np.int64]
    query_vectors: NDArray[np.float32]
    signals: Sequence[str]
    scores: NDArray[np.float32]
    vectors: Targets | None = None


def make_lists(
    texts: Sequence[Path],
    queries: Sequence[Path],
    start: ModelFiles,
    teachers: Sequence[Path],
    *,
    num_passages: int,
    num_queries: int,
    count: int,
    max_tokens: int,
    seed: int,
    threads: int,
    work: Path,
    step: Step,
) -> Lists:
    """Draw the texts, choose the candidates and have them scored.

    Args:
        texts: Files of pairs, see `pairs.read_pairs`; each gives the same number of passages, as
            far as it goes, and their queries.
        queries: Files of queries without passages, see `queries.read_queries`. Of those that are
            drawn, the ones are taken whose words some passage has most of.
        start: The model that is taught; it is the first teacher.
        teachers: Folders of the others, see `teacher_folder.teacher_folder`.
        num_passages: Passages to draw.
        num_queries: Queries without passages to take.
        count: Candidates a query.
        max_tokens: Tokens that passages are cut to.
        seed: Decides what is drawn.
        threads: Threads to encode on.
        work: Folder for vectors and scores; what is in it is not computed again.
        step: Told what is being done.

    Raises:
        TrainingTextError: The text is unusable, or too little.
        DistillationError: A teacher is not understood.
    """
    config = dataclasses.replace(
        start.config, document_length=min(start.config.document_length, max_tokens)
    )
    encoder = Encoder.load(dataclasses.replace(start, config=config), threads=threads)
    tokenizer = Tokenizer(start.tokenizer, config)
    inputs = [hash_file(path).sha256 for path in (*texts, *queries)]
    values = [inputs, num_passages, num_queries, count, max_tokens, seed, start.card.fingerprint]
    cache = work / f"lists-{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]}.npz"
    if cache.is_file():
        drawn = _load(cache)
    else:
        step("choosing candidates")
        found, asked = _draw(texts, queries, tokenizer, num_passages, num_queries, count, seed)
        vectors = encode_texts(encoder, list(asked), found, work / "start", step)
        own = np.array(list(asked.values()))
        lists = candidate_lists(
            [word_ids(tokenizer.tokenize_query(name)) for name in asked],
            keyword_index(tokenizer, found),
            _means(vectors.query, len(asked)), _means(vectors.passage, len(found)),
            own, count, seed,
        )  # fmt: skip
        drawn = _Drawn(list(asked), found, own, lists)
        _save(cache, drawn)
    names, passages, own, lists = drawn
    vectors = encode_texts(encoder, names, passages, work / "start", step)
    scorers: list[Teacher] = [
        StartTeacher(encoder.card.fingerprint, vectors, passages),
        KeywordTeacher(tokenizer, passages),
        *(
            load_teacher(
                teacher_folder(path, work / "teachers", step),
                max_tokens=max_tokens,
                threads=threads,
            )
            for path in teachers
        ),
    ]
    parts = [score_lists(item, names, passages, lists, work / "scores", step) for item in scorers]
    return Lists(
        names, passages, own, lists, _means(vectors.query, len(names)),
        [f"{item.name}.{signal}" for item in scorers for signal in item.signals],
        np.concatenate(parts, axis=2), vectors,
    )  # fmt: skip


class _Drawn(NamedTuple):
    queries: Sequence[str]
    passages: Sequence[str]
    own: NDArray[np.int64]
    candidates: NDArray[np.int64]


def _save(path: Path, drawn: _Drawn) -> None:
    texts = json.dumps([list(drawn.queries), list(drawn.passages)]).encode()
    partial = path.with_suffix(".writing")
    with partial.open("wb") as stream:
        np.savez_compressed(
            stream, texts=np.frombuffer(texts, np.uint8), own=drawn.own, lists=drawn.candidates
        )
    partial.replace(path)


def _load(path: Path) -> _Drawn:
    with np.load(path, allow_pickle=False) as stored:
        queries, passages = json.loads(stored["texts"].tobytes())
        return _Drawn(queries, passages, stored["own"], stored["lists"])


def _draw(
    texts: Sequence[Path],
    queries: Sequence[Path],
    tokenizer: Tokenizer,
    num_passages: int,
    num_queries: int,
    count: int,
    seed: int,
) -> tuple[list[str], dict[str, int]]:
    """Return the passages, and the queries, shuffled, with the position of their passage."""
    pairs = sample_pairs(texts, num_passages, seed)
    passages = list(dict.fromkeys(pair.passage for pair in pairs))
    if len(passages) < count:
        raise TrainingTextError(
            f"at least {count} different passages are needed for lists of {count}, got "
            f"{len(passages)}. Give more text, or shorter lists (--candidates)."
        )
    numbers = {passage: number for number, passage in enumerate(passages)}
    asked = {pair.query: numbers[pair.passage] for pair in pairs}
    index = keyword_index(tokenizer, passages)
    for query in _loose_queries(queries, num_queries, index, tokenizer, seed):
        asked.setdefault(query, -1)
    names = list(asked)
    order = np.random.default_rng([seed, 1]).permutation(len(names))
    return passages, {names[n]: asked[names[n]] for n in order}


def _loose_queries(
    paths: Sequence[Path], count: int, keywords: KeywordIndex, tokenizer: Tokenizer, seed: int
) -> list[str]:
    """Take the same number of queries of every file, those that the passages say most about."""
    taken: list[str] = []
    for number, path in enumerate(paths):
        share = (count - len(taken)) // (len(paths) - number)
        known = read_queries(path)
        generator = np.random.default_rng([seed, 2, number])
        drawn = [known[int(n)] for n in generator.permutation(len(known))[: _DRAWN * share]]
        covered = [keywords.coverage(word_ids(tokenizer.tokenize_query(text))) for text in drawn]
        best = np.argsort(-np.array(covered), kind="stable")[:share]
        taken += [drawn[int(n)] for n in sorted(best)]
    return taken


def _means(rows_of: Targets.Side, count: int) -> NDArray[np.float32]:
    means = np.stack([rows_of(n).sum(axis=0, dtype=np.float32) for n in range(count)])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, 1e-6), dtype=np.float32)

"""Teachers: what scores passages for queries. A ColBERT, a one-vector encoder, a cross-encoder."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers
from numpy.typing import NDArray

from pocket_colbert import Encoder
from pocket_colbert.model.folder import RECIPE_FILE, load_model_files
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert.storage.files import hash_file
from pocket_colbert_export.distillation.candidates import keyword_index, word_ids
from pocket_colbert_export.distillation.targets import Targets
from pocket_colbert_export.errors import DistillationError

Rows = NDArray[np.float32]


class Teacher(ABC):
    """Scores passages for queries.

    Attributes:
        name: What it is called in reports and in weights.
        key: Tells it from teachers that score otherwise.
        signals: Names of its scores; a one-vector encoder gives two.
    """

    name: str
    key: str
    signals: tuple[str, ...]

    @abstractmethod
    def ask(self, queries: Sequence[str]) -> None:
        """Take in the queries that `score` is asked for by number."""

    @abstractmethod
    def score(self, passage: str, wanted: NDArray[np.int64]) -> Rows:
        """Score one passage.

        Args:
            passage: The passage.
            wanted: (n,) numbers of the queries to score it for.

        Returns:
            (n, signals) float32.
        """


class ColBERTTeacher(Teacher):
    """MaxSim of a ColBERT."""

    signals = ("tokens",)

    def __init__(self, name: str, encoder: Encoder) -> None:
        """Use a loaded encoder."""
        self.name, self._encoder = name, encoder
        self.key = f"{encoder.card.fingerprint} {encoder.config.document_length}"
        self._queries: list[Rows] = []

    def ask(self, queries: Sequence[str]) -> None:
        """Encode the queries."""
        self._queries = self._encoder.encode_query(list(queries))

    def score(self, passage: str, wanted: NDArray[np.int64]) -> Rows:
        """Score one passage by MaxSim."""
        rows = self._encoder.encode_document([passage])[0]
        return np.array([[_maxsim(self._queries[n], rows)] for n in wanted], dtype=np.float32)


class StartTeacher(Teacher):
    """MaxSim of the model that is taught, whose token vectors are made already."""

    name, signals = "start", ("tokens",)

    def __init__(self, key: str, vectors: Targets, passages: Sequence[str]) -> None:
        """Use vectors of the queries by number, and of these passages.

        Args:
            key: Tells the model from others.
            vectors: Its token vectors.
            passages: The passages, in the order of their vectors.
        """
        self.key, self._vectors = key, vectors
        self._numbers = {passage: number for number, passage in enumerate(passages)}

    def ask(self, queries: Sequence[str]) -> None:
        """Do nothing: queries are encoded."""

    def score(self, passage: str, wanted: NDArray[np.int64]) -> Rows:
        """Score one passage by MaxSim."""
        rows = self._vectors.passage(self._numbers[passage]).astype(np.float32)
        queries = [self._vectors.query(n).astype(np.float32) for n in wanted]
        return np.array([[_maxsim(query, rows)] for query in queries], dtype=np.float32)


class DenseTeacher(Teacher):
    """A one-vector encoder: the cosine of its vectors, and MaxSim of its token vectors.

    Its token vectors rank well though nothing trained them for it.
    """

    signals = ("tokens", "vector")

    def __init__(self, name: str, graph: Graph, pooling: str) -> None:
        """Use a graph that returns hidden states; `pooling` is "mean" or "cls"."""
        self.name, self.key = name, f"{graph.key} {pooling}"
        self._graph, self._pooling = graph, pooling
        self._tokens: list[Rows] = []
        self._vectors: Rows = np.empty((0, 0), dtype=np.float32)

    def ask(self, queries: Sequence[str]) -> None:
        """Encode the queries."""
        encoded = [self._encode(query) for query in queries]
        self._tokens = [tokens for tokens, _ in encoded]
        self._vectors = np.stack([vector for _, vector in encoded])

    def score(self, passage: str, wanted: NDArray[np.int64]) -> Rows:
        """Score one passage by MaxSim and by the cosine."""
        rows, vector = self._encode(passage)
        tokens = [_maxsim(self._tokens[n], rows) for n in wanted]
        return np.stack([np.array(tokens), self._vectors[wanted] @ vector], axis=1)

    def _encode(self, text: str) -> tuple[Rows, Rows]:
        hidden = self._graph.run(text)
        vector = hidden.mean(axis=0) if self._pooling == "mean" else hidden[0]
        return _unit(hidden), _unit(vector)


class CrossEncoderTeacher(Teacher):
    """A model that reads query and passage together and returns one number."""

    signals = ("score",)

    def __init__(self, name: str, graph: Graph) -> None:
        """Use a graph that returns one logit."""
        self.name, self.key, self._graph = name, graph.key, graph
        self._queries: list[str] = []

    def ask(self, queries: Sequence[str]) -> None:
        """Keep the queries; each is read anew with every passage."""
        self._queries = list(queries)

    def score(self, passage: str, wanted: NDArray[np.int64]) -> Rows:
        """Score one passage by the logit."""
        logits = [float(self._graph.run(self._queries[n], passage)[0]) for n in wanted]
        return np.array(logits, dtype=np.float32)[:, None]


class KeywordTeacher(Teacher):
    """BM25."""

    name, signals = "keywords", ("score",)

    def __init__(self, tokenizer: Tokenizer, passages: Sequence[str]) -> None:
        """Score these passages by the tokens of a model."""
        self.key = "keywords"
        self._tokenizer, self._passages = tokenizer, passages
        self._numbers = {passage: number for number, passage in enumerate(passages)}

    def ask(self, queries: Sequence[str]) -> None:
        """Index the passages, and tokenise the queries."""
        self._index = keyword_index(self._tokenizer, self._passages)
        self._queries = [word_ids(self._tokenizer.tokenize_query(text)) for text in queries]

    def score(self, passage: str, wanted: NDArray[np.int64]) -> Rows:
        """Score one passage by BM25."""
        number = self._numbers[passage]
        scores = [self._index.score(self._queries[n], number) for n in wanted]
        return np.array(scores, dtype=np.float32)[:, None]


class Graph:
    """An ONNX folder: `tokenizer.json` and `model.onnx`, run on one text at a time.

    Texts run alone and unpadded, as int8 graphs have one range of activations a run.
    """

    def __init__(self, folder: Path, *, max_tokens: int, threads: int) -> None:
        """Load a folder.

        Args:
            folder: It holds `tokenizer.json` and `model.onnx` (or `onnx/model.onnx`).
            max_tokens: Tokens that a text, or a query with its passage, is cut to.
            threads: Threads of one run.

        Raises:
            DistillationError: The folder is not of that form.
        """
        path = next(
            (
                folder / name
                for name in ("model.onnx", "onnx/model.onnx")
                if (folder / name).is_file()
            ),
            None,
        )
        if path is None or not (folder / "tokenizer.json").is_file():
            raise DistillationError(
                f"{folder} is no teacher: it needs model.onnx and tokenizer.json, or to be a "
                "model folder of pocket-colbert."
            )
        self.key = f"{hash_file(path).sha256} {max_tokens}"
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
        self._inputs = [item.name for item in self._session.get_inputs()]
        self.width = len(self._session.get_outputs()[0].shape)

    def run(self, text: str, second: str | None = None) -> Rows:
        """Return the first output for a text or a pair of texts, without the batch axis."""
        encoding = self._tokenizer.encode(text, second)
        values = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feeds = {name: np.array([values[name]], dtype=np.int64) for name in self._inputs}
        output: Rows = np.asarray(self._session.run(None, feeds)[0][0], dtype=np.float32)
        return output


def load_teacher(source: str | Path, *, max_tokens: int, threads: int) -> Teacher:
    """Load a teacher from a model folder or an ONNX folder, whose output says what it is.

    Args:
        source: A model folder of a ColBERT, or a folder with `model.onnx` and `tokenizer.json`.
            One that returns hidden states is a one-vector encoder, pooled as
            `1_Pooling/config.json` says, by the mean without it; one that returns a logit is a
            cross-encoder.
        max_tokens: Tokens that a passage, or a query with its passage, is cut to.
        threads: Threads to run it on.

    Raises:
        DistillationError: It is none of them.
    """
    folder = Path(source)
    if (folder / RECIPE_FILE).is_file():
        files = load_model_files(folder)
        longest = min(files.config.document_length, max_tokens)
        config = dataclasses.replace(files.config, document_length=longest)
        encoder = Encoder.load(dataclasses.replace(files, config=config), threads=threads)
        return ColBERTTeacher(folder.name, encoder)
    graph = Graph(folder, max_tokens=max_tokens, threads=threads)
    if graph.width == 2:
        return CrossEncoderTeacher(folder.name, graph)
    if graph.width == 3:
        return DenseTeacher(folder.name, graph, _pooling(folder))
    raise DistillationError(
        f"{folder} returns {graph.width} axes; a teacher returns hidden states (3) or a logit (2)."
    )


def _pooling(folder: Path) -> str:
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return "cls" if values.get("pooling_mode_cls_token") else "mean"


def _unit(rows: Rows) -> Rows:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), dtype=np.float32)


def _maxsim(query: Rows, rows: Rows) -> float:
    return float((query @ rows.T).max(axis=1).sum())

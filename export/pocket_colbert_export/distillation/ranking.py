"""How a student learns to rank as several teachers together do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pocket_colbert.checks import check_whole_number
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.tokenizer import TokenizedText, Tokenizer
from pocket_colbert_export.checkpoints.loading import Checkpoint
from pocket_colbert_export.distillation import losses
from pocket_colbert_export.distillation.batches import batches_of_steps
from pocket_colbert_export.distillation.lists import Lists
from pocket_colbert_export.distillation.loop import TrainingLoop, pooled, rounded
from pocket_colbert_export.distillation.queries import altered
from pocket_colbert_export.errors import DistillationError
from pocket_colbert_export.graph.torch_graph import ColBERTForONNX

HELD_OUT = 96
"""Queries that are never trained on; they choose which step was the best."""
KEYWORD_WEIGHT = 0.3
"""BM25's weight where none is given. Half of every list was chosen by BM25, so that lists say less
of it than it is worth."""
_POOLED_FROM = 0.5
_LEAST_KNOWN = 2
"""Candidates of every query that a batch holds at least."""


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How a student is taught to rank.

    Attributes:
        passages: Passages to learn from, the same number of every file as far as they go.
        loose_queries: Queries without a passage to learn from.
        candidates: Passages that each query is ranked against.
        passage_tokens: Tokens that passages are cut to while training.
        steps: Optimizer steps.
        batch_queries: Queries a step.
        batch_passages: Passages a step; queries beside each other share many.
        learning_rate: The highest, after a warm-up of a twentieth; then it falls to 0.
        weights: Weight of each teacher's score by name, such as {"start.tokens": 1.0}; those that
            are not named are chosen on the held-out lists.
        own_weight: Standard deviations by which a query's own passage is raised in its list.
        token_weight: Weight of the passages' token vectors staying where they are at the start.
        expansion: Numbers of expansion tokens behind a query, drawn from for each batch; the
            first is what the student is shipped with. None leaves expansion as the start has it.
        typing_errors: Share of the queries that get a typing error; a third as many are written
            in capitals.
        prefixes: Widths that are to serve on their own.
        quantize_from: Share of the steps after which int8's rounding is part of training.
        keep_start: How much of the weights that training began with is in those it ends with.
        seed: Decides texts, batches and all else that is drawn.
    """

    passages: int = 10_000
    loose_queries: int = 5_000
    candidates: int = 24
    passage_tokens: int = 180
    steps: int = 800
    batch_queries: int = 16
    batch_passages: int = 64
    learning_rate: float = 1e-4
    weights: Mapping[str, float] = field(default_factory=dict)
    own_weight: float = 0.5
    token_weight: float = 0.0
    expansion: tuple[int, ...] | None = None
    typing_errors: float = 0.15
    prefixes: tuple[int, ...] = (64, 48, 32)
    quantize_from: float = 0.85
    keep_start: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("passages", 8), ("loose_queries", 0), ("candidates", 4), ("passage_tokens", 8),
            ("steps", 1), ("batch_queries", 2), ("batch_passages", 8),
        ):  # fmt: skip
            check_whole_number(name, getattr(self, name), least=least)
        if not 0 < self.learning_rate < 1:
            raise InvalidInputError(
                f"learning_rate must be between 0 and 1, got {self.learning_rate}."
            )
        for name in ("quantize_from", "keep_start", "typing_errors"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInputError(f"{name} must be 0 to 1, got {getattr(self, name)}.")
        for name in ("own_weight", "token_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} must be >= 0, got {getattr(self, name)}.")
        for signal, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise InvalidInputError(f"the weight of {signal} must be >= 0, got {weight}.")
        for number in self.expansion or ():
            check_whole_number("expansion", number, least=0, most=64)
        if self.expansion == ():
            raise InvalidInputError("expansion needs a number; give 0 for queries without it.")


class RankingTrainer(TrainingLoop):
    """Trains on lists."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        lists: Lists,
        target: NDArray[np.float32],
        config: ModelConfig,
        tokenizer: Tokenizer,
        settings: Distillation,
        run: Path,
        device: str | None,
        mixed_precision: bool | None,
    ) -> None:
        """Set up, or restore what `run` holds.

        Args:
            checkpoint: The start.
            lists: The training text.
            target: (queries, count) scores to rank by, see `teacher_sum`.
            config: The student's recipe.
            tokenizer: Its tokenizer.
            settings: How to train.
            run: Folder for the state.
            device: torch's name of the device; by default the GPU where there is one.
            mixed_precision: Multiply in bfloat16; by default where the hardware does.
        """
        self._lists, self._target, self._settings = lists, target, settings
        self._config, self._tokenizer = config, tokenizer
        self._trained = len(lists.queries) - HELD_OUT
        self._widths = [config.embedding_dim, *settings.prefixes]
        torch.manual_seed(settings.seed)
        super().__init__(
            ColBERTForONNX(checkpoint), run, steps=settings.steps,
            learning_rate=settings.learning_rate, keep_start=settings.keep_start,
            quantize_from=settings.quantize_from, device=device, mixed_precision=mixed_precision,
            better="held-out score",
        )  # fmt: skip
        self._passages = [self._tokenizer.tokenize_document(text) for text in lists.passages]
        self.restore()

    def batches(self, first: int) -> Iterator[list[int]]:
        """Return the queries of every step from `first` on."""
        settings, vectors = self._settings, self._lists.query_vectors[: self._trained]
        steps = range(first, settings.steps)
        return batches_of_steps(vectors, settings.batch_queries, settings.seed, steps)

    def losses(self, batch: Sequence[int]) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a step, and figures of it."""
        settings, done = self._settings, self.step / self._settings.steps
        generator = np.random.default_rng([settings.seed, 3, self.step])
        texts = altered([self._lists.queries[n] for n in batch], settings.typing_errors, generator)
        chosen = self._choose(batch, generator)
        drawn = settings.expansion
        expanded = None if drawn is None else int(generator.choice(drawn))
        queries, passages = self._encode(texts, chosen, expanded)
        noisy = [rounded(passage, 4) for passage in passages] if self.step % 4 == 2 else passages
        if done >= _POOLED_FROM and self.step % 4 == 1:
            noisy = [pooled(passage) for passage in passages]
        target, known = self._target_of(batch, chosen)
        full = losses.maxsim_matrix(queries, noisy)
        score = losses.list_loss(full, target, known)
        width = self._widths[self.step % len(self._widths)]
        if width != self._widths[0]:
            narrow = losses.maxsim_matrix(queries, noisy, width)
            score = (score + losses.list_loss(narrow, target, known)) / 2
        tokens = float(sum(len(item) for item in (*queries, *passages)))
        figures = {"score": float(score.detach()), "tokens": tokens}
        if not settings.token_weight:
            return score, figures
        token = self._token_loss(chosen, passages)
        figures["token"] = float(token.detach())
        return score + settings.token_weight * token, figures

    def measure(self) -> dict[str, float]:
        """Return figures of the held-out lists, all of their candidates ranked.

        `score` is the loss; `agreement` how often the teachers' first is the student's; `own` the
        mean reciprocal rank of a query's own passage.
        """
        taught = self._settings.expansion
        expansion = None if taught is None else taught[0]
        numbers = np.arange(self._trained, len(self._lists.queries))
        rows: list[tuple[float, float, float]] = []
        for start in range(0, len(numbers), 16):
            batch = numbers[start : start + 16].tolist()
            chosen = np.unique(self._lists.candidates[batch])
            with torch.no_grad():
                queries, passages = self._encode(
                    [self._lists.queries[n] for n in batch], chosen.tolist(), expansion
                )
                scores = losses.maxsim_matrix(queries, passages)
                target, known = self._target_of(batch, chosen.tolist())
                loss = float(losses.list_loss(scores, target, known))
            low = torch.where(known, scores, -torch.inf)
            aimed = torch.where(known, target, -torch.inf)
            same = float((low.argmax(1) == aimed.argmax(1)).float().mean())
            rows.append((loss, same, self._own_rank(batch, chosen, low)))
        means = np.nanmean(np.array(rows), axis=0)
        named = zip(("score", "agreement", "own"), means, strict=True)
        return {name: round(float(value), 5) for name, value in named}

    def _own_rank(
        self, batch: Sequence[int], chosen: NDArray[np.int64], scores: torch.Tensor
    ) -> float:
        ranks = []
        for row, number in enumerate(batch):
            own = self._lists.own[number]
            if own >= 0:
                mine = scores[row, int(np.searchsorted(chosen, own))]
                ranks.append(1 / (1 + int((scores[row] > mine).sum())))
        return float(np.mean(ranks)) if ranks else math.nan

    def observed(self) -> list[tuple[TokenizedText, ...]]:
        """Return texts to observe the range of activations on."""
        queries = [self._query(text, 0) for text in self._lists.queries[:64]]
        return [(item,) for item in (*queries, *self._passages[:64])]

    def _choose(self, batch: Sequence[int], generator: np.random.Generator) -> list[int]:
        """Take the passages of a batch: some of every query, then those that most of them know."""
        lists = self._lists.candidates[list(batch)]
        chosen: dict[int, None] = {}
        for row, number in zip(lists, batch, strict=True):
            aimed = np.argsort(-self._target[number], kind="stable")
            first = [int(row[aimed[0]]), *(int(n) for n in generator.permutation(row))]
            if self._lists.own[number] >= 0:
                first.insert(0, int(row[0]))
            chosen.update(dict.fromkeys(list(dict.fromkeys(first))[:_LEAST_KNOWN]))
        numbers, counts = np.unique(lists, return_counts=True)
        for place in np.lexsort((generator.random(len(numbers)), -counts)):
            if len(chosen) >= self._settings.batch_passages:
                break
            chosen[int(numbers[place])] = None
        return list(chosen)

    def _target_of(
        self, batch: Sequence[int], chosen: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (queries, passages) target scores, and which of them are known."""
        columns = {number: column for column, number in enumerate(chosen)}
        target = np.zeros((len(batch), len(chosen)), dtype=np.float32)
        known = np.zeros(target.shape, dtype=bool)
        for row, number in enumerate(batch):
            for passage, score in zip(
                self._lists.candidates[number].tolist(), self._target[number], strict=True
            ):
                column = columns.get(passage)
                if column is not None:
                    target[row, column], known[row, column] = score, True
        return torch.from_numpy(target).to(self.device), torch.from_numpy(known).to(self.device)

    def _token_loss(self, chosen: Sequence[int], passages: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the share of the variance of the start's token vectors that is missed."""
        if self._lists.vectors is None:
            raise DistillationError(
                "a token loss needs the start's vectors; set token_weight to 0."
            )
        rows = np.concatenate([self._lists.vectors.passage(n) for n in chosen]).astype(np.float32)
        targets = torch.from_numpy(rows).to(self.device)
        spread = float((targets - targets.mean(dim=0)).pow(2).sum(dim=1).mean())
        return losses.token_loss(torch.cat(list(passages)), targets, max(spread, 1e-6))

    def _encode(
        self, queries: Sequence[str], passages: Sequence[int], expansion: int | None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        items = [self._query(text, expansion) for text in queries]
        vectors = self.encode([*items, *(self._passages[n] for n in passages)])
        return vectors[: len(items)], vectors[len(items) :]

    def _query(self, text: str, expansion: int | None) -> TokenizedText:
        """Tokenise a query with so many expansion tokens, None for as many as the recipe says."""
        item = self._tokenizer.tokenize_query(text)
        if expansion is None:
            return item
        words = int(item.attention_mask.sum())
        mask = self._config.mask_token_id
        ids = np.concatenate([item.input_ids[:words], np.full(expansion, mask or 0)])
        attended = np.full(expansion, int(self._config.attend_to_expansion_tokens))
        return dataclasses.replace(
            item,
            input_ids=ids,
            attention_mask=np.concatenate([np.ones(words, dtype=np.int64), attended]),
            keep=np.concatenate([item.keep[:words], np.ones(expansion, dtype=bool)]),
        )


def teacher_sum(
    lists: Lists, weights: Mapping[str, float], own_weight: float
) -> NDArray[np.float32]:
    """Return the sum of the teachers' scores, each standardised per query and weighted.

    Args:
        lists: The scored lists.
        weights: Weight of each signal by name.
        own_weight: Standard deviations by which a query's own passage is raised.

    Returns:
        (queries, count) float32, standardised per query.
    """
    total = np.zeros(lists.candidates.shape, dtype=np.float32)
    for column, name in enumerate(lists.signals):
        if weights[name]:
            total += weights[name] * _standardised(lists.scores[..., column])
    total = _standardised(total)
    total[lists.own >= 0, 0] += own_weight
    return _standardised(total)


def choose_weights(lists: Lists, fixed: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Choose the weights that rank the queries' own passages best.

    Coordinate ascent over a few weights, from 1 for all; a change must gain to be taken. No
    teacher has learned from these pairs, so all of them may be looked at.

    Args:
        lists: The scored lists.
        fixed: Weights that stay as they are.

    Returns:
        The weight of each signal, and the mean reciprocal rank that they reach.

    Raises:
        InvalidInputError: `fixed` names a signal that there is not.
    """
    for name in fixed:
        if name not in lists.signals:
            raise InvalidInputError(
                f"there is no score {name!r} to weigh; there are {', '.join(lists.signals)}."
            )
    rows = np.flatnonzero(lists.own >= 0)
    parts = {
        name: _standardised(lists.scores[rows, :, column])
        for column, name in enumerate(lists.signals)
    }
    fixed = {"keywords.score": KEYWORD_WEIGHT, **fixed}
    weights = {name: float(fixed.get(name, 1.0)) for name in lists.signals}

    def reached(tried: Mapping[str, float]) -> float:
        total = sum(weight * parts[name] for name, weight in tried.items())
        if not len(rows):
            return 0.0
        ranks = 1 + (np.asarray(total)[:, 1:] >= np.asarray(total)[:, :1]).sum(axis=1)
        return float((1 / ranks).mean())

    best, changed = reached(weights), True
    while changed:
        changed = False
        for name in lists.signals:
            for weight in (0.0, 0.25, 0.5, 1.0, 2.0):
                tried = {**weights, name: weight}
                if name in fixed or not any(tried.values()):
                    continue
                gained = reached(tried)
                if gained > best + 1e-4:
                    weights, best, changed = tried, gained, True
    return weights, best


def _standardised(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-6), np.float32)

"""How a student learns token vectors: batches of neighbours, two losses, pooling at the end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.tokenizer import TokenizedText
from pocket_colbert_export.checkpoints.loading import Checkpoint
from pocket_colbert_export.checkpoints.transformer import Head
from pocket_colbert_export.distillation import losses
from pocket_colbert_export.distillation.batches import batches_of_steps, padded
from pocket_colbert_export.distillation.loop import TrainingLoop, pooled
from pocket_colbert_export.distillation.student import fit_head
from pocket_colbert_export.distillation.targets import Targets
from pocket_colbert_export.errors import DistillationError
from pocket_colbert_export.graph.torch_graph import ColBERTForONNX

HELD_OUT = 256
"""Pairs that are never trained on; their losses are reported."""
FIT_PAIRS = 500
"""Pairs that the first head, the rotation and the spread are fitted on."""
_POOLED_FROM = 0.7


@dataclass(frozen=True, kw_only=True)
class Shrinking:
    """How a student is trained. Defaults are those that the bundled models were made with.

    Attributes:
        pairs: Training pairs, the same number of every file as far as they go.
        steps: Optimizer steps.
        batch_size: Pairs a step.
        learning_rate: The highest, after a warm-up of a twentieth; then it falls to 0.
        dim: Width of a token vector; None for the teacher's.
        prefixes: Widths below it that are to serve on their own.
        layers: Layers of the student that are kept, None for all.
        embedding_dim: Width of a factorised embedding table, None to keep the student's.
        token_weight: Weight of the token loss at the start; it falls to a fifth of that.
        score_weight: Weight of the ranking loss.
        contrastive_weight: Weight of the loss that takes each query's own passage for the only
            right one.
        guide_weight: Weight of the guide's MaxSim in the ensemble; the teacher's is 1.
        vector_weight: Weight of the guide's one-vector score, the cosine of mean token vectors.
        keyword_weight: Weight of BM25.
        query_max_length: Longest query in tokens. Short ones are expanded as the teacher does it.
        quantize_from: Share of the steps after which int8's rounding is part of training.
        keep_start: How much of the weights that training began with is in those it ends with, from
            0 to 1 (Wortsman et al. 2022, arXiv 2109.01903): for students that knew something
            else than they are taught.
        seed: Decides pairs, batches and prefixes.
    """

    pairs: int = 30_000
    steps: int = 2_000
    batch_size: int = 32
    learning_rate: float = 3e-4
    dim: int | None = None
    prefixes: tuple[int, ...] = (64, 48, 32)
    layers: tuple[int, ...] | None = None
    embedding_dim: int | None = None
    token_weight: float = 3.0
    score_weight: float = 1.0
    contrastive_weight: float = 0.0
    guide_weight: float = 0.5
    vector_weight: float = 0.5
    keyword_weight: float = 0.3
    query_max_length: int = 300
    quantize_from: float = 0.85
    keep_start: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("pairs", 2 * HELD_OUT), ("steps", 1), ("batch_size", 4)):
            if getattr(self, name) < low:
                raise InvalidInputError(f"{name} must be >= {low}, got {getattr(self, name)}.")
        if not 0 < self.learning_rate < 1:
            raise InvalidInputError(
                f"learning_rate must be between 0 and 1, got {self.learning_rate}."
            )
        for name in ("quantize_from", "keep_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInputError(f"{name} must be 0 to 1, got {getattr(self, name)}.")
        weights = [item.name for item in dataclasses.fields(self) if item.name.endswith("_weight")]
        for name in weights:
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} must be >= 0, got {getattr(self, name)}.")


@dataclass
class TrainingText:
    """All that training reads, by position of the pair; the last HELD_OUT are not trained on."""

    queries: Sequence[TokenizedText]
    passages: Sequence[TokenizedText]
    teacher: Targets
    guide: Targets
    rotation: torch.Tensor
    spread: float
    query_means: NDArray[np.float32]
    passage_means: NDArray[np.float32]
    keywords: losses.BM25
    trained: int = field(init=False)

    def __post_init__(self) -> None:
        self.trained = len(self.queries) - HELD_OUT


class TokenTrainer(TrainingLoop):
    """Trains on pairs."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        text: TrainingText,
        settings: Shrinking,
        dim: int,
        run: Path,
        device: str | None,
        mixed_precision: bool | None,
    ) -> None:
        self._text, self._settings = text, settings
        self._dims = [dim, *settings.prefixes]
        torch.manual_seed(settings.seed)
        checkpoint = dataclasses.replace(checkpoint, heads=(self._fit_head(checkpoint),))
        super().__init__(
            ColBERTForONNX(checkpoint), run, steps=settings.steps,
            learning_rate=settings.learning_rate, quantize_from=settings.quantize_from,
            keep_start=settings.keep_start, device=device, mixed_precision=mixed_precision,
        )  # fmt: skip
        self.restore()

    def measure(self) -> dict[str, float]:
        """Return the losses of held-out pairs, and how often the first is right."""
        text, figures = self._text, []
        for start in range(text.trained, len(text.queries), 32):
            numbers = range(start, min(start + 32, len(text.queries)))
            with torch.no_grad():
                queries, passages = self._encode(numbers)
                scores = losses.maxsim_matrix(queries, passages)
                target = self._ensemble(numbers)
                figures.append(
                    {
                        "token": float(self._token_loss(numbers, queries, passages)),
                        "score": float(losses.score_loss(scores, target)),
                        "agreement": float((scores.argmax(1) == target.argmax(1)).float().mean()),
                    }
                )
        return {
            key: round(float(np.mean([item[key] for item in figures])), 5) for key in figures[0]
        }

    def batches(self, first: int) -> Iterator[list[int]]:
        """Return the pairs of every step from `first` on."""
        settings, vectors = self._settings, self._text.passage_means[: self._text.trained]
        steps = range(first, settings.steps)
        return batches_of_steps(vectors, settings.batch_size, settings.seed, steps)

    def losses(self, batch: Sequence[int]) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a step, and figures of it."""
        settings, done, numbers = self._settings, self.step / self._settings.steps, batch
        queries, passages = self._encode(numbers)
        token = self._token_loss(numbers, queries, passages)
        scored = passages
        if done >= _POOLED_FROM and self.step % 2:
            scored = [pooled(passage) for passage in passages]
        target = self._ensemble(numbers)
        width = self._dims[self.step % len(self._dims)]
        full = losses.maxsim_matrix(queries, scored)
        score = losses.score_loss(full, target)
        if width != self._dims[0]:
            narrow = losses.maxsim_matrix(queries, scored, width)
            score = (score + losses.score_loss(narrow, target)) / 2
        loss = settings.token_weight * (1 - 0.8 * done) * token + settings.score_weight * score
        if settings.contrastive_weight:
            loss = loss + settings.contrastive_weight * losses.contrastive_loss(full)
        return loss, {
            "token": float(token.detach()),
            "score": float(score.detach()),
            "tokens": float(sum(len(item) for item in (*queries, *passages))),
        }

    def _encode(self, numbers: Sequence[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the student's vectors of the kept tokens of each query and passage."""
        text = self._text
        items = [text.queries[n] for n in numbers] + [text.passages[n] for n in numbers]
        vectors = self.encode(items)
        return vectors[: len(numbers)], vectors[len(numbers) :]

    def _token_loss(
        self,
        numbers: Sequence[int],
        queries: Sequence[torch.Tensor],
        passages: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        teacher = self._text.teacher
        rows = [*(teacher.query(n) for n in numbers), *(teacher.passage(n) for n in numbers)]
        targets = self._tensor(np.concatenate(rows)) @ self._text.rotation.to(self.device)
        targets = torch.nn.functional.normalize(targets, dim=-1)
        return losses.token_loss(torch.cat([*queries, *passages]), targets, self._text.spread)

    def _ensemble(self, numbers: Sequence[int]) -> torch.Tensor:
        """Return the (queries, passages) ranking that is aimed at."""
        text, settings = self._text, self._settings
        scores = [
            losses.maxsim_matrix(
                [self._tensor(store.query(n)) for n in numbers],
                [self._tensor(store.passage(n)) for n in numbers],
            )
            for store in (text.teacher, text.guide)
        ]
        one_vector = text.query_means[list(numbers)] @ text.passage_means[list(numbers)].T
        queries = [_words(text.queries[n]) for n in numbers]
        passages = [text.passages[n].input_ids[text.passages[n].keep] for n in numbers]
        scores += [
            self._tensor(one_vector),
            self._tensor(text.keywords.matrix(queries, passages)),
        ]
        weights = (1.0, settings.guide_weight, settings.vector_weight, settings.keyword_weight)
        return losses.ensemble(scores, weights)

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)

    def _fit_head(self, checkpoint: Checkpoint) -> Head:
        """Fit a head on the first pairs, so that training starts near the teacher."""
        text = self._text
        hidden = []
        with torch.no_grad():
            for number in range(FIT_PAIRS):
                for item in (text.queries[number], text.passages[number]):
                    ids, mask = padded([item], torch.device("cpu"))
                    states = checkpoint.backbone(input_ids=ids, attention_mask=mask)
                    hidden.append(states.last_hidden_state[0][torch.from_numpy(item.keep)])
        rows = [
            side(number)
            for number in range(FIT_PAIRS)
            for side in (text.teacher.query, text.teacher.passage)
        ]
        targets = torch.from_numpy(np.concatenate(rows).astype(np.float32)) @ text.rotation
        if len(targets) != sum(map(len, hidden)):
            raise DistillationError("the teacher's vectors are not of the student's tokens.")
        return fit_head(torch.cat(hidden), targets)

    def observed(self) -> list[tuple[TokenizedText, ...]]:
        """Return texts to observe the range of activations on."""
        text = self._text
        return [(item,) for side in (text.queries, text.passages) for item in side[:64]]


def _words(query: TokenizedText) -> NDArray[np.int64]:
    """Return the ids of a query without expansion tokens."""
    words: NDArray[np.int64] = query.input_ids[query.attention_mask.astype(bool)]
    return words

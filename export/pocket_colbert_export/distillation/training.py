"""How a student is trained: batches of neighbours, two losses, int8 and pooling towards the end."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.tokenizer import TokenizedText
from pocket_colbert.vectors.pooling import pool_labels
from pocket_colbert_export.checkpoints.loading import Checkpoint
from pocket_colbert_export.checkpoints.transformer import Head
from pocket_colbert_export.distillation import fake_quant, losses
from pocket_colbert_export.distillation.student import fit_head
from pocket_colbert_export.distillation.targets import Targets
from pocket_colbert_export.errors import DistillationError
from pocket_colbert_export.exporter import Step
from pocket_colbert_export.graph.torch_graph import ColBERTForONNX

HELD_OUT = 256
"""Pairs that are never trained on; their losses are reported."""
FIT_PAIRS = 500
"""Pairs that the first head, the rotation and the spread are fitted on."""
_CHUNK_TOKENS = 1024
_SAVE_EVERY = 200
_REPORT_EVERY = 20
_WARM_UP = 0.05
_POOLED_FROM = 0.7


@dataclass(frozen=True, kw_only=True)
class Distillation:
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


def neighbour_batches(
    vectors: NDArray[np.float32], size: int, generator: np.random.Generator
) -> list[list[int]]:
    """Divide pairs into batches of neighbours, all of the same size; a remainder is left out.

    Cells of a random projection tree (Dasgupta & Freund 2008), cut at the median so that they
    are of one size, hold half a batch each. Every epoch has a tree of its own.

    Args:
        vectors: (pairs, dim), one a passage.
        size: Pairs a batch.
        generator: Where chance comes from.
    """
    half = max(size // 2, 1)
    cells: list[NDArray[np.int64]] = []
    open_cells = [generator.permutation(len(vectors))]
    while open_cells:
        cell = open_cells.pop()
        if len(cell) <= half:
            cells.append(cell)
            continue
        first, second = vectors[generator.choice(cell, 2, replace=False)]
        cell = cell[np.argsort(vectors[cell] @ (first - second), kind="stable")]
        middle = half * max(round(len(cell) / half / 2), 1)
        open_cells += [cell[:middle], cell[middle:]]
    order = np.concatenate([cells[int(n)] for n in generator.permutation(len(cells))])
    return [order[start : start + size].tolist() for start in range(0, len(order) - size + 1, size)]


class Trainer:
    """The student, its optimizer, and where training stands."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        text: TrainingText,
        settings: Distillation,
        dim: int,
        run: Path,
        device: str | None,
        mixed_precision: bool | None,
    ) -> None:
        self._text, self._settings, self._run = text, settings, run
        self._progress = run / "progress.jsonl"
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._mixed = _has_bfloat16(self._device) if mixed_precision is None else mixed_precision
        self._dims = [dim, *settings.prefixes]
        torch.manual_seed(settings.seed)
        self.step = 0
        self._quantized = False
        checkpoint = dataclasses.replace(checkpoint, heads=(self._fit_head(checkpoint),))
        self.module = ColBERTForONNX(checkpoint).to(self._device)
        self.module.eval()  # no dropout: the targets are exact
        self._start: dict[str, torch.Tensor] = {}
        if settings.keep_start:
            state = self.module.state_dict()
            self._start = {k: v.clone() for k, v in state.items() if v.is_floating_point()}
        self._optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98)
        )
        self._restore()

    def train(self, minutes: float | None, step: Step) -> bool:
        """Take steps until all are taken (True) or time is over (False); state is saved."""
        started, first = time.monotonic(), self.step
        recent: list[dict[str, float]] = []
        try:
            for numbers in self._batches(self.step):
                if minutes is not None and time.monotonic() - started > 60 * minutes:
                    return False
                recent.append(self._take_step(numbers))
                self.step += 1
                if self.step % _REPORT_EVERY == 0 or self.step == self._settings.steps:
                    self._report(recent, time.monotonic() - started, first, step)
                    recent.clear()
                if self.step % _SAVE_EVERY == 0:
                    self._save()
            return True
        finally:
            self._save()

    def finish(self) -> None:
        """Take int8's rounding out of the module again, and average it with what it was."""
        fake_quant.remove_fake_quantization(self.module)
        state = self.module.state_dict()
        for name, value in self._start.items():
            state[name].lerp_(value, self._settings.keep_start)
        self.module.to("cpu").eval()
        self._device, self._mixed = torch.device("cpu"), False

    def measure(self) -> dict[str, float]:
        """Return the losses on the pairs that were held out, and how often the first is right."""
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

    def _report(
        self, recent: Sequence[dict[str, float]], seconds: float, first: int, step: Step
    ) -> None:
        row: dict[str, float] = {key: float(np.mean([r[key] for r in recent])) for key in recent[0]}
        tokens = row.pop("tokens") * (self.step - first) / seconds
        left = seconds / (self.step - first) * (self._settings.steps - self.step)
        if self.step % _SAVE_EVERY == 0 or self.step == self._settings.steps:
            row |= {f"held-out {key}": value for key, value in self.measure().items()}
        with self._progress.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": self.step, **row}) + "\n")
        figures = ", ".join(f"{key} {value:.4f}" for key, value in row.items())
        step(
            f"step {self.step} of {self._settings.steps}: {figures}; "
            f"{tokens:.0f} tokens/s, {left / 60:.0f} min left"
        )

    def _batches(self, first: int) -> Iterator[list[int]]:
        """Yield the batches from step `first` on, the same ones whenever training was stopped."""
        vectors = self._text.passage_means[: self._text.trained]
        taken = 0
        epoch = 0
        while taken < self._settings.steps:
            generator = np.random.default_rng([self._settings.seed, epoch])
            for batch in neighbour_batches(vectors, self._settings.batch_size, generator):
                if first <= taken < self._settings.steps:
                    yield batch
                taken += 1
            epoch += 1

    def _take_step(self, numbers: Sequence[int]) -> dict[str, float]:
        settings, done = self._settings, self.step / self._settings.steps
        if done >= settings.quantize_from and not self._quantized:
            self._quantize()
        for group in self._optimizer.param_groups:
            warm = min((self.step + 1) / max(_WARM_UP * settings.steps, 1), 1)
            group["lr"] = settings.learning_rate * warm * (1 - done) / (1 - _WARM_UP * warm)
        queries, passages = self._encode(numbers)
        token = self._token_loss(numbers, queries, passages)
        scored = passages
        if done >= _POOLED_FROM and self.step % 2:
            scored = [_pooled(passage) for passage in passages]
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
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self._optimizer.step()
        if not math.isfinite(float(loss.detach())):
            raise DistillationError(f"the loss is {float(loss)} at step {self.step}; lower the "
                                    "learning rate.")  # fmt: skip
        return {
            "token": float(token.detach()),
            "score": float(score.detach()),
            "tokens": float(sum(len(item) for item in (*queries, *passages))),
        }

    def _encode(self, numbers: Sequence[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the student's vectors of the kept tokens of each query and passage."""
        text = self._text
        items = [text.queries[n] for n in numbers] + [text.passages[n] for n in numbers]
        vectors: list[torch.Tensor] = [torch.empty(0)] * len(items)
        for chosen in _chunks([len(item.input_ids) for item in items]):
            ids, mask = _padded([items[n] for n in chosen], self._device)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
                rows = self.module(ids, mask).float()
            for number, row in zip(chosen, rows, strict=True):
                item = items[number]
                keep = torch.from_numpy(np.flatnonzero(item.keep)).to(self._device)
                vectors[number] = row[keep]
        return vectors[: len(numbers)], vectors[len(numbers) :]

    def _token_loss(
        self,
        numbers: Sequence[int],
        queries: Sequence[torch.Tensor],
        passages: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        teacher = self._text.teacher
        rows = [*(teacher.query(n) for n in numbers), *(teacher.passage(n) for n in numbers)]
        targets = self._tensor(np.concatenate(rows)) @ self._text.rotation.to(self._device)
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
        return torch.from_numpy(values.astype(np.float32)).to(self._device)

    def _fit_head(self, checkpoint: Checkpoint) -> Head:
        """Fit a head on the first pairs, so that training starts near the teacher."""
        text = self._text
        hidden = []
        with torch.no_grad():
            for number in range(FIT_PAIRS):
                for item in (text.queries[number], text.passages[number]):
                    ids, mask = _padded([item], torch.device("cpu"))
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

    def _quantize(self) -> None:
        numbers = range(64)
        items = [
            *(self._text.queries[n] for n in numbers),
            *(self._text.passages[n] for n in numbers),
        ]
        fake_quant.fake_quantize(self.module, [_padded([item], self._device) for item in items])
        self._quantized = True

    def _save(self) -> None:
        state = {
            "step": self.step,
            "module": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        work = self._run / "state.pt.writing"
        torch.save(state, work)
        work.replace(self._run / "state.pt")

    def _restore(self) -> None:
        path = self._run / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, map_location=self._device, weights_only=True)
        self.step = int(state["step"])
        if any("parametrizations" in name for name in state["module"]):
            self._quantize()
        self.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._progress.is_file():  # steps that are taken again are reported again
            lines = self._progress.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            self._progress.write_text("".join(kept), encoding="utf-8")


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())  # torch has no public name for it


def _chunks(lengths: Sequence[int]) -> list[list[int]]:
    """Divide texts into runs of similar length, so that little is padding and all stays cached."""
    chunks: list[list[int]] = [[]]
    for number in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if chunks[-1] and (len(chunks[-1]) + 1) * lengths[number] > _CHUNK_TOKENS:
            chunks.append([])
        chunks[-1].append(number)
    return chunks


def _padded(
    items: Sequence[TokenizedText], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(item.input_ids) for item in items)
    ids = np.zeros((len(items), length), dtype=np.int64)
    mask = np.zeros((len(items), length), dtype=np.int64)
    for row, item in enumerate(items):
        ids[row, : len(item.input_ids)] = item.input_ids
        mask[row, : len(item.input_ids)] = item.attention_mask
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def _words(query: TokenizedText) -> NDArray[np.int64]:
    """Return the ids of a query without expansion tokens."""
    words: NDArray[np.int64] = query.input_ids[query.attention_mask.astype(bool)]
    return words


def _pooled(passage: torch.Tensor) -> torch.Tensor:
    """Halve a passage's vectors as pooling does it."""
    labels = pool_labels(passage.detach().cpu().numpy(), 2.0)
    sums = torch.zeros(int(labels.max()) + 1, passage.shape[1], device=passage.device)
    sums = sums.index_add(0, torch.from_numpy(labels).to(passage.device), passage)
    return torch.nn.functional.normalize(sums, dim=-1)

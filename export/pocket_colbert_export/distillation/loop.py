"""The loop that trains a student: schedule, saving and restoring, int8's rounding, figures."""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pocket_colbert.model.tokenizer import TokenizedText
from pocket_colbert.vectors.pooling import pool_labels
from pocket_colbert_export.distillation import fake_quant
from pocket_colbert_export.distillation.batches import chunks, padded
from pocket_colbert_export.errors import DistillationError
from pocket_colbert_export.exporter import Step
from pocket_colbert_export.graph.torch_graph import ColBERTForONNX

SAVE_EVERY = 50
REPORT_EVERY = 10
MEASURE_EVERY = 100
_WARM_UP = 0.05


class TrainingLoop(ABC):
    """The student, its optimizer, and where training stands.

    What is trained on is a subclass's: it says which batches there are, what each costs, and how
    the student does on what was held out.

    Attributes:
        module: The student.
        step: How many steps were taken.
        device: Where it is trained.
    """

    def __init__(
        self,
        module: ColBERTForONNX,
        run: Path,
        *,
        steps: int,
        learning_rate: float,
        quantize_from: float,
        keep_start: float,
        device: str | None,
        mixed_precision: bool | None,
        better: str | None = None,
    ) -> None:
        """Set up; `restore` takes up what a former call left.

        Args:
            module: What is trained.
            run: Folder for the state.
            steps: Optimizer steps.
            learning_rate: The highest, after a warm-up of a twentieth; then it falls to 0.
            quantize_from: Share of the steps after which int8's rounding is part of training.
            keep_start: How much of the weights that training began with is in those it ends with.
            device: torch's name of the device; by default the GPU where there is one.
            mixed_precision: Multiply in bfloat16; by default where the hardware does.
            better: The held-out figure by which the best state is chosen at the end, lower is
                better; None takes the last state.
        """
        self._run, self._steps, self._rate = run, steps, learning_rate
        self._quantize_from, self._keep_start, self._better = quantize_from, keep_start, better
        self._progress = run / "progress.jsonl"
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._mixed = _has_bfloat16(self.device) if mixed_precision is None else mixed_precision
        self.step = 0
        self._quantized = False
        self._best = math.inf
        self.module = module.to(self.device)
        self.module.eval()  # no dropout: the targets are exact
        self._start: dict[str, torch.Tensor] = {}
        if keep_start:
            state = self.module.state_dict()
            self._start = {k: v.clone() for k, v in state.items() if v.is_floating_point()}
        self._optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=learning_rate, betas=(0.9, 0.98)
        )

    @abstractmethod
    def batches(self, first: int) -> Iterator[list[int]]:
        """Yield the batches from step `first` on, the same ones whenever training was stopped."""

    @abstractmethod
    def losses(self, batch: Sequence[int]) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a step, and figures of it; "tokens" counts what was encoded."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Return figures of what was held out."""

    @abstractmethod
    def observed(self) -> list[tuple[TokenizedText, ...]]:
        """Return batches to observe the range of activations on."""

    def train(self, minutes: float | None, step: Step) -> bool:
        """Take steps until all are taken (True) or time is over (False); state is saved."""
        started, first = time.monotonic(), self.step
        recent: list[dict[str, float]] = []
        # Sums of gradients otherwise depend on the order in which they are ready.
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=self.device.type != "cpu")
        try:
            for batch in self.batches(self.step):
                if minutes is not None and time.monotonic() - started > 60 * minutes:
                    return False
                recent.append(self._take_step(batch))
                self.step += 1
                if self.step % REPORT_EVERY == 0 or self.step == self._steps:
                    self._report(recent, time.monotonic() - started, first, step)
                    recent.clear()
                if self.step % SAVE_EVERY == 0:
                    self._save()
            return True
        finally:
            torch.use_deterministic_algorithms(before)
            self._save()

    def finish(self) -> None:
        """Take the best state, take int8's rounding out of it, and average it with the start."""
        best = self._run / "best.pt"
        if self._better is not None and best.is_file():
            self.module.load_state_dict(
                torch.load(best, map_location=self.device, weights_only=True)
            )
        fake_quant.remove_fake_quantization(self.module)
        state = self.module.state_dict()
        for name, value in self._start.items():
            state[name].lerp_(value, self._keep_start)
        self.module.to("cpu").eval()
        self.device, self._mixed = torch.device("cpu"), False

    def encode(self, items: Sequence[TokenizedText]) -> list[torch.Tensor]:
        """Return the student's vectors of the kept tokens of each text."""
        vectors: list[torch.Tensor] = [torch.empty(0)] * len(items)
        for chosen in chunks([len(item.input_ids) for item in items]):
            ids, mask = padded([items[n] for n in chosen], self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed):
                rows = self.module(ids, mask).float()
            for number, row in zip(chosen, rows, strict=True):
                keep = torch.from_numpy(np.flatnonzero(items[number].keep)).to(self.device)
                vectors[number] = row[keep]
        return vectors

    def restore(self) -> None:
        """Take up what a former call left."""
        path = self._run / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step, self._best = int(state["step"]), float(state["best"])
        if any("parametrizations" in name for name in state["module"]):
            self._quantize()
        self.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._progress.is_file():  # steps that are taken again are reported again
            lines = self._progress.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            self._progress.write_text("".join(kept), encoding="utf-8")

    def _take_step(self, batch: Sequence[int]) -> dict[str, float]:
        done = self.step / self._steps
        if done >= self._quantize_from and not self._quantized:
            self._quantize()
        for group in self._optimizer.param_groups:
            warm = min((self.step + 1) / max(_WARM_UP * self._steps, 1), 1)
            group["lr"] = self._rate * warm * (1 - done) / (1 - _WARM_UP * warm)
        loss, figures = self.losses(batch)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self._optimizer.step()
        if not math.isfinite(float(loss.detach())):
            raise DistillationError(f"the loss is {float(loss)} at step {self.step}; lower the "
                                    "learning rate.")  # fmt: skip
        return figures

    def _report(
        self, recent: Sequence[dict[str, float]], seconds: float, first: int, step: Step
    ) -> None:
        row: dict[str, float] = {key: float(np.mean([r[key] for r in recent])) for key in recent[0]}
        tokens = row.pop("tokens") * (self.step - first) / seconds
        left = seconds / (self.step - first) * (self._steps - self.step)
        if self.step % MEASURE_EVERY == 0 or self.step == self._steps:
            row |= {f"held-out {key}": value for key, value in self.measure().items()}
            self._keep_best(row)
        with self._progress.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": self.step, **row}) + "\n")
        figures = ", ".join(f"{key} {value:.4f}" for key, value in row.items())
        step(
            f"step {self.step} of {self._steps}: {figures}; "
            f"{tokens:.0f} tokens/s, {left / 60:.0f} min left"
        )

    def _keep_best(self, row: dict[str, float]) -> None:
        """Save the weights if they are the best so far.

        Once int8 is part of training its first state counts as the best: those before it have
        not learned to cope.
        """
        if self._better is None:
            return
        if row[self._better] < self._best:
            self._best = row[self._better]
            _write(self.module.state_dict(), self._run / "best.pt")

    def _quantize(self) -> None:
        batches = [padded(items, self.device) for items in self.observed()]
        fake_quant.fake_quantize(self.module, batches)
        self._quantized, self._best = True, math.inf

    def _save(self) -> None:
        state = {
            "step": self.step,
            "best": self._best,
            "module": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        _write(state, self._run / "state.pt")


def _write(state: Any, path: Path) -> None:
    work = path.with_name(path.name + ".writing")
    torch.save(state, work)
    work.replace(path)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())  # torch has no public name for it


def pooled(passage: torch.Tensor) -> torch.Tensor:
    """Halve a passage's vectors as pooling does it."""
    labels = pool_labels(passage.detach().cpu().numpy(), 2.0)
    sums = torch.zeros(int(labels.max()) + 1, passage.shape[1], device=passage.device)
    sums = sums.index_add(0, torch.from_numpy(labels).to(passage.device), passage)
    return torch.nn.functional.normalize(sums, dim=-1)


def rounded(passage: torch.Tensor, bits: int) -> torch.Tensor:
    """Round vectors to so many bits a component, going forward only, as codes do about."""
    rows = passage.detach()
    low, high = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)
    scale = (high - low).clamp_min(1e-6) / (2**bits - 1)
    near = ((rows - low) / scale).round() * scale + low
    return passage + (near - rows)

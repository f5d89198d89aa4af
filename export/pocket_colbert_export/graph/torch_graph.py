"""Backbone, projections and normalisation as one torch module, and as one ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from optimum.exporters.onnx import export as optimum_export
from optimum.exporters.onnx.config import TextEncoderOnnxConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import NormalizedTextConfig

from pocket_colbert_export.checkpoints.loading import Checkpoint
from pocket_colbert_export.checkpoints.transformer import Head
from pocket_colbert_export.errors import GraphError
from pocket_colbert_export.proof.parity import Batch

OPSET = 17
"""LayerNormalization is one operator from 17 on; newer ones bring nothing to these graphs."""


class ColBERTForONNX(torch.nn.Module):
    """Token ids to unit token vectors: backbone, Dense layers, L2 normalisation."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.backbone = checkpoint.backbone
        self.config = checkpoint.backbone.config  # optimum looks for it
        self.heads = torch.nn.ModuleList(_DenseLayer(head) for head in checkpoint.heads)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Encode (batch, length) int64 ids; return (batch, length, dim) float32 unit rows."""
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        vectors = hidden.last_hidden_state
        for head in self.heads:
            vectors = head(vectors)
        return torch.nn.functional.normalize(vectors, p=2.0, dim=-1)

    @torch.no_grad()
    def encode(self, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
        """Return the (n, length, dim) float32 unit rows of each batch, padding included."""
        return [
            self(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)).numpy()
            for batch in batches
        ]


class _DenseLayer(torch.nn.Module):
    def __init__(self, head: Head) -> None:
        super().__init__()
        outputs, inputs = head.weight.shape
        self.linear = torch.nn.Linear(inputs, outputs, bias=head.bias is not None)
        self.linear.weight = torch.nn.Parameter(head.weight)
        if head.bias is not None:
            self.linear.bias = torch.nn.Parameter(head.bias)
        self.activation = getattr(torch.nn, head.activation)()
        self.use_residual = head.residual
        self.residual: torch.nn.Module = torch.nn.Identity()
        if head.residual_weight is not None:
            self.residual = torch.nn.Linear(inputs, outputs, bias=False)
            self.residual.weight = torch.nn.Parameter(head.residual_weight)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        projected = self.activation(self.linear(vectors))
        return projected + self.residual(vectors) if self.use_residual else projected


def export_graph(module: ColBERTForONNX, path: Path) -> None:
    """Write the float32 graph with optimum, with dynamic batch and length.

    Args:
        module: What to export.
        path: The ONNX file to write.

    Raises:
        GraphError: torch or optimum cannot trace this architecture.
    """
    module.eval()
    try:
        with torch.no_grad():
            optimum_export(module, _onnx_config(module.config), path, opset=OPSET)
    except MemoryError:
        raise
    except Exception as error:  # tracing fails in as many ways as there are architectures
        raise GraphError(
            f"the graph of {type(module.backbone).__name__} cannot be exported: {error}"
        ) from error


def _onnx_config(config: Any) -> Any:
    """Take optimum's configuration of the backbone, with our inputs and output.

    Optimum's knows how the architecture is to be patched for tracing; an architecture that it
    does not know gets the plain one, and the parity test decides whether that was enough.
    """
    base: Any
    try:
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=config.model_type, task="feature-extraction",
            library_name="transformers",
        )  # fmt: skip
        base = type(constructor(config))
    except (KeyError, ValueError):  # what optimum raises for an unknown architecture or task
        base = _PlainConfig

    class Config(base):
        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {
                "input_ids": {0: "batch", 1: "length"},
                "attention_mask": {0: "batch", 1: "length"},
            }

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {"output": {0: "batch", 1: "length"}}

    return Config(config, task="feature-extraction")


class _PlainConfig(TextEncoderOnnxConfig):
    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig

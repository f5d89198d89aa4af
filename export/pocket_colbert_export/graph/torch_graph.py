"""Backbone, projections and normalisation as one torch module, and as one ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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


def has_optimum() -> bool:
    """Say whether optimum-onnx is installed, and goes with the transformers that is."""
    try:
        import optimum.exporters.onnx  # noqa: F401
    except ImportError:
        return False
    return True


def export_graph(module: ColBERTForONNX, path: Path) -> None:
    """Write the float32 graph, with dynamic batch and length.

    With optimum where it is installed, which knows how many architectures are to be patched for
    tracing, otherwise by torch alone. The parity test decides whether that was enough.

    Args:
        module: What to export.
        path: The ONNX file to write.

    Raises:
        GraphError: torch or optimum cannot trace this architecture.
    """
    module.eval()
    try:
        with torch.no_grad():
            if has_optimum():
                _export_with_optimum(module, path)
            else:
                trace(module, path, ["input_ids", "attention_mask"])
    except MemoryError:
        raise
    except Exception as error:  # tracing fails in as many ways as there are architectures
        raise GraphError(
            f"the graph of {type(module.backbone).__name__} cannot be exported: {error}"
        ) from error


def trace(module: torch.nn.Module, path: Path, inputs: Sequence[str]) -> None:
    """Write the float32 graph of a module by torch alone, with dynamic batch and length.

    Args:
        module: Takes (batch, length) int64 tensors of the names of `inputs`; returns one tensor,
            called "output" in the graph.
        path: The ONNX file to write.
        inputs: From "input_ids", "attention_mask", "token_type_ids", in the order taken.
    """
    ids = torch.ones(2, 9, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0  # texts of two lengths, so that no length and no mask is a constant
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    axes = {0: "batch", 1: "length"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is said to be the former way
        torch.onnx.export(
            module,
            tuple(values[name] for name in inputs),
            str(path),
            input_names=list(inputs),
            output_names=["output"],
            dynamic_axes=dict.fromkeys((*inputs, "output"), axes),
            opset_version=OPSET,
            dynamo=False,
        )


def _export_with_optimum(module: ColBERTForONNX, path: Path) -> None:
    """Take optimum's configuration of the backbone, with our inputs and output.

    An architecture that it does not know gets the plain one.
    """
    from optimum.exporters.onnx import export
    from optimum.exporters.onnx.config import TextEncoderOnnxConfig
    from optimum.exporters.tasks import TasksManager
    from optimum.utils import NormalizedTextConfig

    class PlainConfig(TextEncoderOnnxConfig):
        NORMALIZED_CONFIG_CLASS = NormalizedTextConfig

    config = module.config
    base: Any = PlainConfig
    try:
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=config.model_type, task="feature-extraction",
            library_name="transformers",
        )  # fmt: skip
        base = type(constructor(config))
    except (KeyError, ValueError):  # what optimum raises for an unknown architecture or task
        pass

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

    export(module, Config(config, task="feature-extraction"), path, opset=OPSET)

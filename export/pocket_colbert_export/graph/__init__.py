"""ONNX graphs: tracing, quantising and halving them, and the graphs of the runtime."""

from __future__ import annotations

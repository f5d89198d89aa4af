"""float16 weights and products, float32 where half the digits would be felt.

onnxruntime's own converter does the work. Layer norms stay float32, and whatever follows the last
product: bias, activation, normalisation. So does attention between its two products, as masks are
the lowest number there is: in float16 two of them are -inf, and a row of those is NaN. Rotary
angles too, as float16 counts positions exactly up to 2048 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from pocket_colbert_export.errors import GraphError

FLOAT32 = ("layer norms", "masks and softmax", "rotary angles", "what follows the last product")
"""What stays float32, in words for the report."""

_PRODUCTS = ("MatMul", "Gemm")


def write_float16_graph(source: Path, target: Path) -> None:
    """Write a graph with float16 weights; inputs and outputs stay what they are.

    Args:
        source: The float32 graph, below 2 GB.
        target: Where the float16 graph goes.

    Raises:
        GraphError: The graph cannot be converted.
    """
    model = onnx.load(str(source))
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"  # nodes are kept float32 by name
    try:
        model = convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, "LayerNormalization"],
            node_block_list=sorted(
                _after_products(model.graph)
                | _before(model.graph, ("Softmax",), stop=_PRODUCTS)
                | _before(model.graph, ("Cos", "Sin"))
            ),
        )
        _drop_round_trips(model.graph)
        OnnxModel.graph_topological_sort(model.graph)  # the converter puts its casts at the end
        onnx.save(model, str(target))
    except MemoryError:
        raise
    except Exception as error:  # the converter raises many kinds for operators it lacks
        raise GraphError(f"onnxruntime cannot convert the graph to float16: {error}") from error


def _after_products(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the nodes after the last product; nodes are in the order they run."""
    products = [n for n, node in enumerate(graph.node) if node.op_type in _PRODUCTS]
    return {node.name for node in graph.node[max(products, default=-1) + 1 :]}


def _before(graph: onnx.GraphProto, operators: Sequence[str], stop: Sequence[str] = ()) -> set[str]:
    """Return the names of the nodes of some operators and of all that feeds them.

    The walk back ends at nodes of the operators in `stop`.
    """
    maker = {name: node for node in graph.node for name in node.output}
    waiting = [node for node in graph.node if node.op_type in operators]
    names: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.name not in names and node.op_type not in stop:
            names.add(node.name)
            waiting += [maker[name] for name in node.input if name in maker]
    return names


def _drop_round_trips(graph: onnx.GraphProto) -> None:
    """Let float32 nodes hand on float32: the converter rounds to float16 between any two nodes."""
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    outputs = {item.name for item in graph.output}
    rounded = {node.output[0]: node.input[0] for node in graph.node if _is_cast(node, half)}
    exact: dict[str, str] = {}
    for node in list(graph.node):
        if _is_cast(node, single) and node.input[0] in rounded:
            exact[node.output[0]] = rounded[node.input[0]]
            graph.node.remove(node)
    renamed = {origin: name for name, origin in exact.items() if name in outputs}
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                name = exact.get(name, name)
                names[position] = renamed.get(name, name)
    used = {name for node in graph.node for name in node.input} | outputs
    for node in list(graph.node):
        if _is_cast(node, half) and node.output[0] not in used:
            graph.node.remove(node)


def _is_cast(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(
        item.name == "to" and item.i == kind for item in node.attribute
    )

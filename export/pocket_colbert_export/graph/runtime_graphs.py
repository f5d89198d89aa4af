"""The small graphs that the runtime multiplies and scores with.

    python -m pocket_colbert_export.graph.runtime_graphs runtime/pocket_colbert/vectors/onnx_graphs

The runtime has no `onnx`, so the graphs are files in it; the tests compare them with this.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper


def _whole_product(unsigned: bool) -> tuple[Any, list[Any], list[Any]]:
    """Return the node that makes `whole`, (rows - zero_point) @ codes in whole numbers.

    Args:
        unsigned: Whether codes are uint8, 128 more than they stand for.

    Returns:
        The node, what it takes from outside, and what it needs in the graph.
    """
    inputs = ["rows", "codes", "zero_point"]
    initializers = []
    if unsigned:
        inputs.append("codes_zero_point")
        initializers.append(helper.make_tensor(inputs[-1], TensorProto.UINT8, [], [128]))
    kind = TensorProto.UINT8 if unsigned else TensorProto.INT8
    values = [
        helper.make_tensor_value_info("rows", TensorProto.UINT8, ["n", "dim"]),
        helper.make_tensor_value_info("codes", kind, ["dim", "query_tokens"]),
        helper.make_tensor_value_info("zero_point", TensorProto.UINT8, []),
    ]
    return helper.make_node("MatMulInteger", inputs, ["whole"]), values, initializers


def product_graph(unsigned: bool = False) -> bytes:
    """Return the graph: transpose((rows - zero_point) @ codes) * scales, uint8 by int8.

    Args:
        unsigned: Whether codes are uint8, 128 more than they stand for.
    """
    product, inputs, initializers = _whole_product(unsigned)
    return _graph(
        "product",
        [
            product,
            helper.make_node("Transpose", ["whole"], ["transposed"], perm=[1, 0]),
            helper.make_node("Cast", ["transposed"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "scales"], ["products"]),
        ],
        [
            *inputs,
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [1, "n"]),
        ],
        [helper.make_tensor_value_info("products", TensorProto.FLOAT, ["query_tokens", "n"])],
        initializers,
    )


def maxima_graph(unsigned: bool = False) -> bytes:
    """Return the graph: scaled products with a query, and maxima of groups of 8 and of single rows.

    `(rows - zero_point) @ codes` are whole numbers; each row is then scaled in float32. Maxima are
    taken of 8 rows in a row, then of the groups that each line of `groups` lists, and of the rows
    that each line of `singles` lists.

    Args:
        unsigned: Whether codes are uint8, 128 more than they stand for.
    """
    product, inputs, initializers = _whole_product(unsigned)
    return _graph(
        "maxima",
        [
            product,
            # Casts and scales in one pass over memory; Mul with a column takes three times as long.
            helper.make_node("DequantizeLinear", ["whole", "scales"], ["products"], axis=0),
            helper.make_node("Reshape", ["products", "shape"], ["grouped"]),
            helper.make_node("ReduceMax", ["grouped"], ["of_groups"], axes=[1], keepdims=0),
            helper.make_node("Gather", ["of_groups", "groups"], ["listed_groups"], axis=0),
            helper.make_node(
                "ReduceMax", ["listed_groups"], ["group_maxima"], axes=[1], keepdims=0
            ),
            helper.make_node("Gather", ["products", "singles"], ["listed_singles"], axis=0),
            helper.make_node(
                "ReduceMax", ["listed_singles"], ["single_maxima"], axes=[1], keepdims=0
            ),
        ],
        [
            *inputs,
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [3]),
            helper.make_tensor_value_info("groups", TensorProto.INT32, ["lines", "groups_a_line"]),
            helper.make_tensor_value_info(
                "singles", TensorProto.INT32, ["documents", "rows_a_line"]
            ),
        ],
        [
            helper.make_tensor_value_info(
                "group_maxima", TensorProto.FLOAT, ["lines", "query_tokens"]
            ),
            helper.make_tensor_value_info(
                "single_maxima", TensorProto.FLOAT, ["documents", "query_tokens"]
            ),
        ],
        initializers,
    )


def rows_graph() -> bytes:
    """Return the graph: rows of (batch * length, dim), as token vectors are read."""
    return _graph(
        "rows",
        [
            helper.make_node("Flatten", ["vectors"], ["flat"], axis=2),
            helper.make_node("Gather", ["flat", "rows"], ["kept"], axis=0),
        ],
        [
            helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", "length", "dim"]),
            helper.make_tensor_value_info("rows", TensorProto.INT64, ["n"]),
        ],
        [helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["n", "dim"])],
    )


def maxsim_graph(half: bool = False) -> bytes:
    """Return the graph: MaxSim of a query with padded documents.

    Padding is taken out of the maxima with -inf; what its vectors hold does not matter.

    Args:
        half: Whether documents and products are float16; sums are float32 all the same.
    """
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["query"], ["rows"], to=kind),
        helper.make_node("Transpose", ["rows"], ["columns"], perm=[1, 0]),
        helper.make_node("MatMul", ["documents", "columns"], ["products"]),
        helper.make_node("Shape", ["documents"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["longest"]),
        helper.make_node("Range", ["zero", "longest", "one"], ["places"]),
        helper.make_node("Unsqueeze", ["lengths", "axis_1"], ["ends"]),
        helper.make_node("Less", ["places", "ends"], ["real"]),
        helper.make_node("Unsqueeze", ["real", "axis_2"], ["mask"]),
        helper.make_node("Where", ["mask", "products", "lowest"], ["masked"]),
        helper.make_node("ReduceMax", ["masked"], ["best"], axes=[1], keepdims=0),
        helper.make_node("Cast", ["best"], ["maxima"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["maxima", "axis_1"], ["scores"], keepdims=0),
    ]
    return _graph(
        "maxsim",
        nodes,
        [
            helper.make_tensor_value_info("query", TensorProto.FLOAT, ["query_tokens", "dim"]),
            helper.make_tensor_value_info("documents", kind, ["n", "longest", "dim"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["n"]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"])],
        [
            helper.make_tensor("zero", TensorProto.INT64, [], [0]),
            helper.make_tensor("one", TensorProto.INT64, [], [1]),
            helper.make_tensor("axis_1", TensorProto.INT64, [1], [1]),
            helper.make_tensor("axis_2", TensorProto.INT64, [1], [2]),
            helper.make_tensor("lowest", kind, [], [float("-inf")]),
        ],
    )


def _graph(
    name: str,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    initializers: Sequence[Any] = (),
) -> bytes:
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    model.producer_name = "pocket-colbert"
    content: bytes = model.SerializeToString()
    return content


def graphs() -> Mapping[str, bytes]:
    """Return all graphs by the name of their file in the runtime."""
    return {
        "product.onnx": product_graph(),
        "product_uint8.onnx": product_graph(unsigned=True),
        "maxima.onnx": maxima_graph(),
        "maxima_uint8.onnx": maxima_graph(unsigned=True),
        "rows.onnx": rows_graph(),
        "maxsim.onnx": maxsim_graph(),
        "maxsim_fp16.onnx": maxsim_graph(half=True),
    }


if __name__ == "__main__":
    for name, content in graphs().items():
        (Path(sys.argv[1]) / name).write_bytes(content)

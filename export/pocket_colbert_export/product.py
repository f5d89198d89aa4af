"""The little graphs that the runtime multiplies codes with.

    python -m pocket_colbert_export.product runtime/pocket_colbert

The runtime has no `onnx`, so the graphs are files in it; the tests compare them with this.
"""

from __future__ import annotations

import sys
from pathlib import Path

from onnx import TensorProto, helper


def product_graph(unsigned: bool = False) -> bytes:
    """Return the graph: transpose((rows - zero_point) @ codes) * scales, uint8 by int8.

    Args:
        unsigned: Whether codes are uint8, 128 more than they stand for.
    """
    inputs = ["rows", "codes", "zero_point"]
    initializers = []
    if unsigned:
        inputs.append("codes_zero_point")
        initializers.append(helper.make_tensor(inputs[-1], TensorProto.UINT8, [], [128]))
    kind = TensorProto.UINT8 if unsigned else TensorProto.INT8
    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", inputs, ["whole"]),
            helper.make_node("Transpose", ["whole"], ["transposed"], perm=[1, 0]),
            helper.make_node("Cast", ["transposed"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "scales"], ["products"]),
        ],
        "product",
        [
            helper.make_tensor_value_info("rows", TensorProto.UINT8, ["n", "dim"]),
            helper.make_tensor_value_info("codes", kind, ["dim", "query_tokens"]),
            helper.make_tensor_value_info("zero_point", TensorProto.UINT8, []),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [1, "n"]),
        ],
        [helper.make_tensor_value_info("products", TensorProto.FLOAT, ["query_tokens", "n"])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    model.producer_name = "pocket-colbert"
    content: bytes = model.SerializeToString()
    return content


if __name__ == "__main__":
    for name, unsigned in (("product.onnx", False), ("product_uint8.onnx", True)):
        (Path(sys.argv[1]) / name).write_bytes(product_graph(unsigned))

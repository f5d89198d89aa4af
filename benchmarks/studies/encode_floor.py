"""How far encoding is from what the processor can do, and ways to get nearer, by processor time.

    python -m benchmarks.studies.encode_floor MODEL --json benchmarks/results/encode_floor.json

The floor of a run is its int8 products alone (`MatMulInteger`) and its attention products alone
(float32), at the rates that this processor reaches for the model's own shapes. Beside it the run
itself, and each product as it is made now (int8 with one scale a run) and in two other ways: with
one scale a row, made by plain operators, and by `MatMulNBits`, which rounds activations by rows and
blocks itself. Vectors of texts that run together would not depend on each other with these.

One thread; the least of many calls in turns, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import in_turns
from pocket_colbert.model.folder import load_model_files
from pocket_colbert.vectors.providers import load_graph

Feeds = dict[str, NDArray[Any]]
Shape = tuple[int, int]


def least_ms(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the least milliseconds of processor time of each call, in turns."""

    def timed(call: Callable[[], object]) -> Callable[[], float]:
        def measured() -> float:
            began = time.process_time_ns()
            call()
            return (time.process_time_ns() - began) / 1e6

        return measured

    taken = in_turns({name: timed(call) for name, call in calls.items()}, rounds)
    return {name: min(values) for name, values in taken.items()}


def products_of(graph: onnx.GraphProto) -> dict[Shape, int]:
    """Return the shapes of the int8 weights of a graph, and how many products have each."""
    weights = {item.name: tuple(item.dims) for item in graph.initializer}
    shapes: dict[Shape, int] = {}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            rows, columns = weights[node.input[1]]
            shapes[rows, columns] = shapes.get((rows, columns), 0) + 1
    return shapes


def attention_of(graph: onnx.GraphProto) -> tuple[int, int]:
    """Return how many attentions a graph has, and their heads' width together."""
    layers = sum(node.op_type == "Softmax" for node in graph.node)
    widths = [min(shape) for shape in products_of(graph)]
    return layers, max(widths, key=widths.count)


class Product:
    """A product of some rows with int8 weights, in one of several ways."""

    def __init__(self, rows: int, shape: Shape) -> None:
        rng = np.random.default_rng(0)
        self._values = rng.normal(size=(rows, shape[0])).astype(np.float32)
        self._weights = rng.integers(-127, 128, shape).astype(np.int8)

    def calls(self) -> dict[str, Callable[[], object]]:
        """Return each way by its name."""
        codes = np.clip(np.rint(self._values * 40) + 128, 0, 255).astype(np.uint8)
        weights = self._weights
        scales = np.full(weights.shape[1], 0.01, np.float32)
        constants = {
            "weights": weights, "scales": scales, "zero": np.array(128, np.uint8),
            "one": np.array(1, np.float32), "step": np.array(1 / 127, np.float32),
        }  # fmt: skip
        node = helper.make_node
        one_scale = node("DynamicQuantizeMatMul", ["values", "weights", "scales", "", "scales"],
                         ["out"], domain="com.microsoft")  # fmt: skip
        by_rows = [
            node("Abs", ["values"], ["sizes"]),
            node("ReduceMax", ["sizes"], ["largest"], axes=[-1], keepdims=1),
            node("Mul", ["largest", "step"], ["row_scales"]),
            node("Div", ["values", "row_scales"], ["divided"]),
            node("QuantizeLinear", ["divided", "one", "zero"], ["codes"]),
            node("MatMulInteger", ["codes", "weights", "zero"], ["sums"]),
            node("Cast", ["sums"], ["float_sums"], to=TensorProto.FLOAT),
            node("Mul", ["float_sums", "row_scales"], ["by_row"]),
            node("Mul", ["by_row", "scales"], ["product"]),
            node("Add", ["product", "scales"], ["out"]),
        ]
        plain = node("MatMulInteger", ["values", "weights", "zero"], ["out"])
        return {
            "MatMulInteger alone": _call([plain], constants, codes, TensorProto.INT32),
            "one scale a run": _call([one_scale], constants, self._values),
            "one scale a row": _call(by_rows, constants, self._values),
            "MatMulNBits, 8 bits": self._by_blocks(8),
            "MatMulNBits, 4 bits": self._by_blocks(4),
        }

    def _by_blocks(self, bits: int, size: int = 128) -> Callable[[], object]:
        inputs, outputs = self._weights.shape
        blocks = self._weights.T.reshape(outputs, inputs // size, size)
        codes = (blocks.astype(np.int16) + 128).astype(np.uint8)
        if bits == 4:
            codes = codes[..., : size // 2]
        multiply = helper.make_node(
            "MatMulNBits", ["values", "codes", "scales"], ["out"], domain="com.microsoft",
            K=inputs, N=outputs, bits=bits, block_size=size, accuracy_level=4,
        )  # fmt: skip
        scales = np.ones(outputs * (inputs // size), np.float32)
        return _call([multiply], {"codes": codes, "scales": scales}, self._values)


def _call(
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, NDArray[Any]],
    values: NDArray[Any],
    kind: int = TensorProto.FLOAT,
) -> Callable[[], object]:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "product",
        [helper.make_tensor_value_info(
            "values", helper.np_dtype_to_tensor_dtype(values.dtype), values.shape
        )],
        [helper.make_tensor_value_info("out", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )  # fmt: skip
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"values": values})


def attention_ms(length: int, width: int, rounds: int) -> float:
    """Return what the two products of one attention take in float32."""
    rng = np.random.default_rng(0)
    heads, size = width // 32, 32
    keys = rng.normal(size=(heads, size, length)).astype(np.float32)
    values = rng.normal(size=(heads, length, size)).astype(np.float32)
    queries = np.ascontiguousarray(values[::-1])
    shares = rng.random((heads, length, length), np.float32)
    node = helper.make_node("MatMul", ["values", "other"], ["out"])
    calls = {
        "scores": _call([node], {"other": keys}, queries),
        "values": _call([node], {"other": values}, shares),
    }
    return sum(least_ms(calls, rounds).values())


def measure(model: str, runs: list[tuple[int, int]], rounds: int) -> dict[str, Any]:
    """Return the runs beside their floors, and the ways to multiply."""
    files = load_model_files(model)
    graph = onnx.load(str(files.graph)).graph
    shapes, (layers, width) = products_of(graph), attention_of(graph)
    session = load_graph(files.graph)
    names = [item.name for item in session.get_inputs()]
    found: dict[str, Any] = {"model": Path(model).name, "runs": [], "products": []}
    for batch, length in runs:
        feeds: Feeds = {name: np.ones((batch, length), np.int64) for name in names}
        feeds["input_ids"] = np.random.default_rng(0).integers(1000, 20_000, (batch, length))
        run_ms = least_ms({"run": lambda f=feeds: session.run(None, f)}, rounds)["run"]
        products_ms = 0.0
        for shape, times in shapes.items():
            if shape[0] % 128:
                continue
            ways = least_ms(Product(batch * length, shape).calls(), rounds)
            products_ms += times * ways["MatMulInteger alone"]
            found["products"].append(
                {"rows": batch * length, "shape": shape, "in_a_run": times, "ways": ways}
            )
        found["runs"].append({
            "batch": batch, "length": length, "run_ms": run_ms, "products_ms": products_ms,
            "attention_ms": batch * layers * attention_ms(length, width, rounds),
        })  # fmt: skip
    return found


def table(results: Mapping[str, Any]) -> str:
    """Return the runs beside their floors, then the products by the way they are made."""
    runs = [
        (
            f"{run['batch']} x {run['length']}", decimals(run["run_ms"], 2),
            decimals(run["products_ms"], 2), decimals(run["attention_ms"], 2),
            decimals(run["run_ms"] / (run["products_ms"] + run["attention_ms"]), 2),
        )
        for run in results["runs"]
    ]  # fmt: skip
    heads = ("texts x tokens", "run, ms", "int8 products", "attention products", "of the floor")
    ways = list(results["products"][0]["ways"])
    products = []
    for item in results["products"]:
        inputs, outputs = item["shape"]
        work = item["rows"] * inputs * outputs / 1e6
        now = item["ways"]["one scale a run"]
        cells = [
            f"{decimals(ms, 3)} ({decimals(work / ms, 0)}; {decimals(ms / now, 2)})"
            for ms in item["ways"].values()
        ]
        products.append((f"{item['rows']} x {inputs} x {outputs}", *cells))
    return (
        f"{results['model']}:\n\n{markdown(heads, runs)}\n\n"
        "Milliseconds (billion multiplications a second; times one scale a run):\n\n"
        + markdown(("product", *ways), products)
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="small")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("encode_floor", options)
    found = measure(options.model, [(1, 32), (1, 128), (1, 300), (8, 128)], options.rounds)
    print(table(found))
    run.save(options.json, found)


if __name__ == "__main__":
    main()

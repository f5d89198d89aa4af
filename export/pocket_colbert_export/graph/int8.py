"""int8 weights by the best of several measured recipes.

Dynamic int8 has one scale for all of a run's activations, so a few channels that are always large
decide how coarsely the others are rounded. Moving part of that range into the weights, which have
a scale per channel, is exact in float32 and takes the error down by half and more (SmoothQuant,
Xiao et al. 2022, arXiv 2211.10438, equation 4). Which strength is best differs from model to
model, so several are tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from pocket_colbert_export.errors import GraphError
from pocket_colbert_export.proof.fidelity import FidelityMeter
from pocket_colbert_export.proof.report import Fidelity, Int8Recipe, QuantizationTrial

Feeds = Mapping[str, NDArray[np.int64]]

_MIN_TABLE_ROWS = 64
"""Smaller embedding tables, as those of token types, stay in float."""

_FLOAT_SHARE = 0.1
"""Share of the products that `Int8Recipe.keep_sensitive` leaves in float."""


SMOOTHINGS = (0.0, 0.6, 0.7, 0.75, 0.8)
"""Strengths that are tried."""


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What was chosen.

    Attributes:
        recipe: The recipe.
        fidelity: How near the chosen graph is to the float32 one.
        tried: All recipes that were tried, in their order.
    """

    recipe: Int8Recipe
    fidelity: Fidelity
    tried: tuple[QuantizationTrial, ...]


def write_int8_graph(
    source: Path,
    target: Path,
    calibration: Sequence[Feeds],
    meter: FidelityMeter,
    passes: Callable[[Fidelity], bool],
) -> Quantized:
    """Quantise a graph by the recipe that changes its vectors least.

    Recipes that keep everything in int8 are tried first; leaving products in float costs speed
    and size, so it is tried only when none of them passes.

    Args:
        source: The float32 graph.
        target: Where the int8 graph goes.
        calibration: Inputs to observe activations on.
        meter: Measures how near a graph is to the float32 one.
        passes: Says whether what was measured is good enough.

    Returns:
        What was chosen and all that was tried. `target` holds the chosen graph.

    Raises:
        GraphError: The graph cannot be quantised.
    """
    ranges = _observe(source, calibration)
    attempts: list[_Attempt] = []
    candidate = target.with_name("candidate.onnx")

    def attempt(recipe: Int8Recipe, best: _Attempt | None) -> _Attempt:
        """Try a recipe; return the better one of it and the best so far."""
        _quantize(source, candidate, recipe, ranges)
        made = _Attempt(recipe, meter.measure(candidate), candidate.stat().st_size)
        attempts.append(made)
        if best is not None and not made.fidelity.mean_cosine > best.fidelity.mean_cosine:
            return best
        candidate.replace(target)
        return made

    best = attempt(Int8Recipe(smoothing=SMOOTHINGS[0], reduce_range=False), None)
    for smoothing in SMOOTHINGS[1:]:
        best = attempt(Int8Recipe(smoothing=smoothing, reduce_range=False), best)
    best = attempt(dataclasses.replace(best.recipe, reduce_range=True), best)
    if not passes(best.fidelity):
        best = attempt(dataclasses.replace(best.recipe, keep_sensitive=True), best)
    candidate.unlink(missing_ok=True)
    return Quantized(
        recipe=best.recipe,
        fidelity=best.fidelity,
        tried=QuantizationTrial.all_of(attempts),
    )


def quantize_graph(
    source: Path, target: Path, calibration: Sequence[Feeds], recipe: Int8Recipe
) -> None:
    """Quantise a graph by one recipe, without a measurement.

    Args:
        source: The float32 graph.
        target: Where the int8 graph goes.
        calibration: Inputs to observe activations on.
        recipe: The recipe.

    Raises:
        GraphError: The graph cannot be quantised.
    """
    _quantize(source, target, recipe, _observe(source, calibration))


class _Attempt(NamedTuple):
    recipe: Int8Recipe
    fidelity: Fidelity
    bytes: int


@dataclass(frozen=True)
class _Range:
    """Activations that go into products: largest per channel, and the products they go into."""

    channel_max: NDArray[np.float32]
    products: Sequence[str]
    errors: Mapping[str, float]


def _constant_products(model: onnx.ModelProto) -> list[Any]:
    tables = {item.name for item in model.graph.initializer if len(item.dims) == 2}
    return [
        node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in tables
    ]


def _observe(source: Path, calibration: Sequence[Feeds]) -> Mapping[str, _Range]:
    """Run the float32 graph and note the range of every tensor that is multiplied by weights."""
    model = onnx.load(str(source))
    weights = {item.name: item for item in model.graph.initializer}
    products = _constant_products(model)
    users: dict[str, list[Any]] = {}
    for node in products:
        users.setdefault(node.input[0], []).append(node)
    for name in users:
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime's errors share no base
        raise GraphError(f"the graph cannot be observed for int8: {error}") from error
    largest: dict[str, NDArray[np.float32]] = {}
    errors: dict[str, list[float]] = {node.name: [] for node in products}
    for number, feeds in enumerate(calibration):
        for name, values in zip(users, session.run(list(users), feeds), strict=True):
            rows = values.reshape(-1, values.shape[-1])
            peak = np.abs(rows).max(axis=0)
            largest[name] = np.maximum(largest.get(name, peak), peak)
            if number < 4:  # a few texts order the products well enough
                for node in users[name]:
                    weight = numpy_helper.to_array(weights[node.input[1]])
                    errors[node.name].append(_rounding_error(rows, weight))
    return {
        name: _Range(
            largest[name],
            [node.name for node in users[name]],
            {node.name: float(np.mean(errors[node.name])) for node in users[name]},
        )
        for name in users
    }


def _rounding_error(rows: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Return the relative error that one scale for all of `rows` makes in their product."""
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
    step = max(high - low, 1e-12) / 255
    exact = rows @ weight
    rounded = (np.rint(rows / step) * step) @ weight
    size = max(float(np.linalg.norm(exact)), 1e-12)
    return float(np.linalg.norm(rounded - exact)) / size


def _quantize(source: Path, target: Path, recipe: Int8Recipe, ranges: Mapping[str, _Range]) -> None:
    model = onnx.load(str(source))
    if recipe.smoothing:
        _smooth(model, recipe.smoothing, ranges)
    tables = _quantize_tables(model)
    keep = list(tables)
    if recipe.keep_sensitive:
        errors = {name: error for item in ranges.values() for name, error in item.errors.items()}
        ordered = sorted(errors, key=lambda name: -errors[name])
        keep += ordered[: max(1, round(_FLOAT_SHARE * len(ordered)))]
    smoothed = target.with_name("smoothed.onnx")
    onnx.save(model, str(smoothed))
    try:
        quantize_dynamic(
            str(smoothed),
            str(target),
            per_channel=True,
            reduce_range=recipe.reduce_range,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=keep,
            extra_options={"MatMulConstBOnly": True},
        )
    except MemoryError:
        raise
    except Exception as error:  # the quantiser raises many kinds for operators it lacks
        raise GraphError(f"onnxruntime cannot quantise the graph: {error}") from error
    finally:
        smoothed.unlink(missing_ok=True)


def _smooth(model: onnx.ModelProto, strength: float, ranges: Mapping[str, _Range]) -> None:
    """Divide activations by a factor per channel and multiply the weights' rows by it."""
    weights = {item.name: item for item in model.graph.initializer}
    products = {node.name: node for node in _constant_products(model)}
    shared = [node.input[1] for node in products.values()]
    for name, item in ranges.items():
        nodes = [products[product] for product in item.products]
        if any(shared.count(node.input[1]) > 1 for node in nodes):
            continue  # tied weights serve other activations too
        arrays = [numpy_helper.to_array(weights[node.input[1]]) for node in nodes]
        row_max = np.max([np.abs(array).max(axis=1) for array in arrays], axis=0)
        factor = np.maximum(item.channel_max, 1e-5) ** strength
        factor = factor / np.maximum(row_max, 1e-5) ** (1 - strength)
        factor = np.clip(factor / np.exp(np.log(factor).mean()), 1e-3, 1e3).astype(np.float32)
        for node, array in zip(nodes, arrays, strict=True):
            weights[node.input[1]].CopyFrom(
                numpy_helper.from_array(array * factor[:, None], node.input[1])
            )
            node.input[0] = name + "_smoothed"
        divisor = numpy_helper.from_array(1 / factor, name + "_divisor")
        model.graph.initializer.append(divisor)
        multiply = helper.make_node(
            "Mul", [name, divisor.name], [name + "_smoothed"], name=name + "_smooth"
        )
        positions = [n for n, node in enumerate(model.graph.node) if name in node.output]
        model.graph.node.insert(positions[0] + 1 if positions else 0, multiply)


def _quantize_tables(model: onnx.ModelProto) -> list[str]:
    """Store embedding tables as int8 with a scale per row; return the nodes that were replaced."""
    weights = {item.name: item for item in model.graph.initializer}
    done: dict[str, tuple[str, str]] = {}
    replaced: list[str] = []
    nodes = list(model.graph.node)
    others = {name for node in nodes if node.op_type != "Gather" for name in node.input}
    for node in nodes:
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if table is None or axis != 0 or len(table.dims) != 2 or table.name in others:
            continue
        if table.data_type != onnx.TensorProto.FLOAT or table.dims[0] < _MIN_TABLE_ROWS:
            continue
        if table.name not in done:
            values = numpy_helper.to_array(table)
            scale = np.abs(values).max(axis=1, keepdims=True) / 127
            scale = np.where(scale == 0, 1, scale).astype(np.float32)
            codes = np.rint(values / scale).astype(np.int8)
            done[table.name] = table.name + "_codes", table.name + "_scales"
            for name, array in zip(done[table.name], (codes, scale), strict=True):
                model.graph.initializer.append(numpy_helper.from_array(array, name))
        codes_name, scales_name = done[table.name]
        output, prefix = node.output[0], node.name or node.output[0]
        parts = [
            helper.make_node(
                "Gather", [codes_name, node.input[1]], [prefix + "_c"], prefix + "_codes"
            ),
            helper.make_node("Cast", [prefix + "_c"], [prefix + "_f"], prefix + "_cast", to=1),
            helper.make_node(
                "Gather", [scales_name, node.input[1]], [prefix + "_s"], prefix + "_scale"
            ),
            helper.make_node("Mul", [prefix + "_f", prefix + "_s"], [output], prefix + "_row"),
        ]
        position = next(
            n for n, item in enumerate(model.graph.node) if item is node or item == node
        )
        model.graph.node.remove(node)
        for offset, part in enumerate(parts):
            model.graph.node.insert(position + offset, part)
        replaced.extend(part.name for part in parts)
    for name in done:
        model.graph.initializer.remove(weights[name])
    return replaced

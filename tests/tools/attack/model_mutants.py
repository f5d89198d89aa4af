"""Damaged and hostile model folders: they encode, or raise the package's own errors.

The recipe lists the right sizes and checksums of the wrong files, so that what is behind the
checksums is met: the recipe's own checks, the tokenizer, and onnxruntime.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pocket_colbert import Encoder, PocketColbertError
from tests.support.hostile_index import VALUES, alarm
from tests.support.paths import DATA
from tests.tools.attack.mutants import try_all
from tests.tools.attack.tally import Tally

SOUND = DATA / "tiny-colbert"
RECIPE = "onnx_config.json"
SECONDS = 15.0
TEXTS = ["bees on the roof", "", "capital! " * 40]

Contents = dict[str, bytes]


def load_model_mutants(tally: Tally, tries: int, seed: int, temporary: Path) -> None:
    """Load models and encode with them."""
    sound = {path.name: path.read_bytes() for path in SOUND.iterdir()}
    right = _vectors(SOUND)
    folder = temporary / "model"

    def attempt(number: int) -> tuple[str, str | None]:
        rng = np.random.default_rng((seed, number))
        what, files = _mutant(rng, sound)
        hostile = bool(rng.random() < 0.8)
        if hostile:
            _rehash(files)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        try:
            with alarm(SECONDS):
                found = _vectors(folder)
            # The recipe decides the vectors and has no checksum: an index knows it by fingerprint.
            same = not hostile and files[RECIPE] == sound[RECIPE]
            _check(found, right if same else None)
        except PocketColbertError:
            return "refused", None
        except BaseException:
            return "problem", f"{'hostile' if hostile else 'damaged'} {what}: " + (
                traceback.format_exc()
            )
        return "works", None

    try_all(tally, tries, attempt, temporary)
    left = {path.name for path in temporary.iterdir()}
    if not left <= {"model", "output"}:
        tally.fail(f"files were made outside: {left}")


Vectors = tuple[list[np.ndarray], list[np.ndarray]]


def _vectors(folder: Path) -> Vectors:
    encoder = Encoder.load(folder, threads=1)
    passages = encoder.encode_passages(TEXTS)
    return encoder.encode_query(TEXTS), [item.embedding for parts in passages for item in parts]


def _check(found: Vectors, right: Vectors | None) -> None:
    for number, group in enumerate(found):
        for vectors in group:
            assert vectors.ndim == 2 and vectors.dtype == np.float32
        if right is not None:
            for vectors, expected in zip(group, right[number], strict=True):
                np.testing.assert_array_equal(vectors, expected)


def _rehash(files: Contents) -> None:
    """Write the recipe with the right sizes and checksums of the files that it lists."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        recipe = json.loads(files[RECIPE])
        listed = recipe["pocket_colbert"]["files"]
        for name, content in files.items():
            if name in listed:
                digest = hashlib.sha256(content).hexdigest()
                listed[name] = {"bytes": len(content), "sha256": digest}
        files[RECIPE] = json.dumps(recipe).encode()


def _mutant(rng: np.random.Generator, sound: Contents) -> tuple[str, Contents]:
    files = dict(sound)
    kinds = [_bytes_changed, _files_swapped, _json_changed, _json_changed, _graph_changed]
    kind = kinds[rng.integers(len(kinds))]
    return kind(rng, files), files


def _bytes_changed(rng: np.random.Generator, files: Contents) -> str:
    name = str(rng.choice([RECIPE, "tokenizer.json", "model.onnx", "model.onnx"]))
    data = bytearray(files[name])
    how = int(rng.integers(5))
    for _ in range(rng.integers(1, 5)):
        # The graph's structure is at its ends; weights are in the middle.
        start = int(rng.integers(len(data) + 1) if rng.random() < 0.3 else rng.integers(3000))
        start = min(start if rng.random() < 0.5 else len(data) - start, len(data))
        start = max(start, 0)
        if how == 0:
            del data[start:]
        elif how == 1 and start < len(data):
            data[start] ^= 1 << int(rng.integers(8))
        elif how == 2:
            data[start:start] = rng.bytes(int(rng.integers(1, 65)))
        elif how == 3:
            del data[start : start + int(rng.integers(1, 65))]
        else:
            data[start : start + 10] = b"\xff" * 9 + b"\x01"  # -1, and the largest number
    files[name] = bytes(data)
    return f"bytes {how} of {name}"


def _files_swapped(rng: np.random.Generator, files: Contents) -> str:
    a, b = (str(name) for name in rng.choice(sorted(files), 2, replace=False))
    if rng.random() < 0.3:
        del files[a]
        return f"{a} deleted"
    files[a], files[b] = files[b], files[a]
    return f"{a} and {b} swapped"


def _json_changed(rng: np.random.Generator, files: Contents) -> str:
    """Change values of the recipe or the tokenizer."""
    name = RECIPE if rng.random() < 0.6 else "tokenizer.json"
    values = json.loads(files[name])
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                visit(value[key])

    visit(values)
    said = []
    for _ in range(rng.integers(1, 4)):
        inside, key = places[rng.integers(len(places))]
        with suppress(KeyError, IndexError):
            how = int(rng.integers(6))
            if how == 0:
                del inside[key]
            elif how == 1:
                inside[key] = copy.deepcopy(places[rng.integers(len(places))][0])
            else:
                inside[key] = VALUES[rng.integers(len(VALUES))]
            said.append(f"{key} {how} {str(inside[key])[:40] if how else ''}")
    with suppress(ValueError, RecursionError):
        files[name] = json.dumps(values).encode()
    return f"{name}: {said}"


def _graph_changed(rng: np.random.Generator, files: Contents) -> str:
    """Change shapes, attributes, operators and the wiring of the graph."""
    import onnx

    graph = onnx.load_from_string(files["model.onnx"])
    numbers = [0, -1, 1, 2, 3, 7, 2**20, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63), 2**63 - 1]
    how = int(rng.integers(7))
    node = graph.graph.node[rng.integers(len(graph.graph.node))]
    weights = graph.graph.initializer[rng.integers(len(graph.graph.initializer))]
    value = numbers[rng.integers(len(numbers))]
    if how == 0 and len(weights.dims):
        weights.dims[rng.integers(len(weights.dims))] = value
    elif how == 1:
        weights.data_type = int(rng.integers(0, 25))
    elif how == 2 and len(node.attribute):
        attribute = node.attribute[rng.integers(len(node.attribute))]
        if attribute.type == onnx.AttributeProto.INTS and len(attribute.ints):
            attribute.ints[rng.integers(len(attribute.ints))] = value
        else:
            attribute.i = value
    elif how == 3:
        node.op_type = graph.graph.node[rng.integers(len(graph.graph.node))].op_type
    elif how == 4 and len(node.input):
        other = graph.graph.node[rng.integers(len(graph.graph.node))]
        node.input[rng.integers(len(node.input))] = (*other.output, *other.input)[0]
    elif how == 5:
        ends = (*graph.graph.input, *graph.graph.output)
        shape = ends[rng.integers(len(ends))].type.tensor_type.shape
        if len(shape.dim):
            shape.dim[rng.integers(len(shape.dim))].dim_value = value
    else:
        data = bytearray(weights.raw_data)
        for _ in range(3):
            if data:
                data[rng.integers(len(data))] = int(rng.integers(256))
        weights.raw_data = bytes(data)
    files["model.onnx"] = graph.SerializeToString()
    return f"graph {how} {node.op_type} {node.name} {weights.name} {value}"

"""Documents per second of encoders, side by side.

Each system runs in a Python of its own, since their requirements exclude each other, loads once,
and then encodes the same documents when it is told to; systems take turns, and medians are
reported. Two threads each. Systems whose Python or model is not given are left out.

    python -m benchmarks.studies.encode DATASET --int8 FOLDER --fp32 FOLDER \
        --fastembed-python PYTHON --fastembed-model FOLDER \
        --reference-python PYTHON --reference-model FOLDER

`benchmarks/README.md` says how those folders and environments are made.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

WORKERS = {
    "pocket-colbert": """
from pocket_colbert import Encoder
encoder = Encoder.load(model, threads=threads)
def encode(texts): return encoder.encode_document(texts)
""",
    "fastembed": """
from fastembed import LateInteractionTextEmbedding
encoder = LateInteractionTextEmbedding(
    "answerdotai/answerai-colbert-small-v1", specific_model_path=model, threads=threads
)
def encode(texts): return list(encoder.embed(texts))
""",
    "sentence-transformers": """
import torch
torch.set_num_threads(threads)
# optimum-onnx 0.1.0 is written for transformers 4 and sentence-transformers 6 needs 5; loading
# works once names that transformers 5 moved are put back.
import huggingface_hub, transformers, transformers.modeling_utils as mu, transformers.utils as u
import transformers.utils.generic as g
for owner, name, value in (
    (mu, "get_parameter_dtype", lambda p: next(p.parameters()).dtype),
    (g, "_CAN_RECORD_REGISTRY", {}), (g, "OutputRecorder", type("OutputRecorder", (), {})),
    (g, "check_model_inputs", lambda f=None, **k: f), (u, "is_offline_mode", lambda: True),
    (transformers.PretrainedConfig, "_get_non_default_generation_parameters", lambda self: {}),
):
    if not hasattr(owner, name):
        setattr(owner, name, value)
from sentence_transformers import MultiVectorEncoder
settings = {"backend": backend, "device": "cpu"}
if backend == "onnx":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    settings["model_kwargs"] = {
        "file_name": "onnx/model_qint8_avx512_vnni.onnx", "session_options": options
    }
else:
    settings["model_kwargs"] = {"dtype": "float32"}
encoder = MultiVectorEncoder(model, **settings)
def encode(texts): return encoder.encode_document(texts, convert_to_numpy=True)
""",
}
LOOP = """
import json, sys, time, warnings
import numpy as np
texts = json.load(open(texts_file, encoding="utf-8"))
warnings.simplefilter("ignore")
encode(texts[:8])
print("READY", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    vectors = encode(texts)
    print("TIME", time.perf_counter() - started, flush=True)
    if line.strip() == "save":
        np.savez(output, *[np.asarray(v, dtype=np.float32) for v in vectors])
        print("SAVED", flush=True)
"""


class Worker:
    """A system in a process of its own."""

    def __init__(self, python: str, system: str, settings: dict[str, Any]) -> None:
        head = "".join(f"{key} = {value!r}\n" for key, value in settings.items())
        threads = str(settings["threads"])
        environment = os.environ | {
            "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
            "RAYON_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true",
        }  # fmt: skip
        environment.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [python, "-c", head + WORKERS[system] + LOOP],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment,
        )  # fmt: skip
        self._wait("READY")

    def run(self, command: str) -> float:
        """Encode once; return the seconds it took."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        seconds = float(self._wait("TIME"))
        if command == "save":
            self._wait("SAVED")
        return seconds

    def _wait(self, word: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line[len(word) :].strip()
        raise RuntimeError(f"the worker ended with code {self.process.wait()} before {word}.")


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--int8", help="our int8 model folder")
    parser.add_argument("--fp32", help="our fp32 model folder")
    parser.add_argument("--fastembed-python")
    parser.add_argument("--fastembed-model")
    parser.add_argument("--reference-python")
    parser.add_argument("--reference-model")
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/encode.json"))
    options = parser.parse_args()
    path = options.dataset / "corpus.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream][: options.documents]
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
    reference = options.reference_python
    wanted = [
        ("pocket-colbert int8", sys.executable, "pocket-colbert", options.int8, ""),
        ("pocket-colbert fp32", sys.executable, "pocket-colbert", options.fp32, ""),
        ("fastembed fp32", options.fastembed_python, "fastembed", options.fastembed_model, ""),
        ("sentence-transformers ONNX int8", reference, "sentence-transformers",
         options.reference_model, "onnx"),
        ("sentence-transformers torch fp32", reference, "sentence-transformers",
         options.reference_model, "torch"),
    ]  # fmt: skip
    work = options.output.parent
    work.mkdir(parents=True, exist_ok=True)
    texts_file = (work / ".texts.json").resolve()
    texts_file.write_text(json.dumps(texts), encoding="utf-8")
    workers = {}
    for name, python, system, model, backend in wanted:
        if python and model:
            output = str((work / f".{name.replace(' ', '-')}.npz").resolve())
            workers[name] = Worker(python, system, {
                "model": str(Path(model).resolve()), "threads": options.threads,
                "texts_file": str(texts_file), "backend": backend, "output": output,
            })  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for worker in workers.values():
        worker.run("save")
    for _ in range(options.rounds):
        for name, worker in workers.items():
            seconds[name].append(worker.run("go"))
    result = {
        "documents": len(texts),
        "threads": options.threads,
        "rounds": options.rounds,
        "systems": {
            name: {
                "documents_per_second": len(texts) / statistics.median(times),
                "fastest": len(texts) / min(times),
                "slowest": len(texts) / max(times),
                "token_cosine_to_torch_fp32": cosine(
                    work, name, "sentence-transformers torch fp32"
                ),
            }
            for name, times in seconds.items()
        },
    }
    for path in work.glob(".*"):
        path.unlink()
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{len(texts)} documents, {options.threads} threads, {options.rounds} rounds, medians\n")
    print(
        "| system | documents/s (slowest to fastest) | token cosine to torch fp32 |\n|---|---|---|"
    )
    for name, row in result["systems"].items():
        near = row["token_cosine_to_torch_fp32"]
        print(
            f"| {name} | {row['documents_per_second']:.1f} ({row['slowest']:.1f} to "
            f"{row['fastest']:.1f}) | {'' if near is None else f'{near:.4f}'} |"
        )


def cosine(work: Path, name: str, reference: str) -> float | None:
    """Return the mean token cosine of two systems, None where their tokens differ."""
    paths = [work / f".{item.replace(' ', '-')}.npz" for item in (name, reference)]
    if not all(path.is_file() for path in paths):
        return None
    with np.load(paths[0]) as ours, np.load(paths[1]) as theirs:
        values = []
        for key in ours.files:
            if ours[key].shape != theirs[key].shape:
                return None
            values.append((ours[key] * theirs[key]).sum(axis=1))
    return float(np.concatenate(values).mean())


if __name__ == "__main__":
    main()

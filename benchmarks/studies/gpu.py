"""Encoding and MaxSim on an execution provider, against the limits of the card.

    python -m benchmarks.studies.gpu DATA/scifact --model FP16-FOLDER --provider cuda \
        --peak-tflops 989 --bandwidth 3350 --reference-model CHECKPOINT

Encodes the corpus in batches and its first texts one by one; then keeps all token vectors on the
device and scores them against queries. Limits are the card's own, of dense products in the graph's
precision and of its memory; without them no shares are printed. sentence-transformers encodes the
same texts on the same device, in the same precision, when it is installed and has a model. Each
figure is the median of the rounds after one to warm up. Without a GPU, `--provider cpu --documents
64` shows that it works, and nothing else.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Run, processor
from benchmarks.harness.tables import markdown
from benchmarks.harness.timing import median_ms
from pocket_colbert import DeviceMaxSim, Encoder, TruncationWarning, maxsim_pairwise
from pocket_colbert.evaluation.beir import read_beir
from pocket_colbert.ingest.readers import text_to_encode

QUERIES = 8


def card(provider: str) -> str:
    """Name what computes, as its driver does."""
    if provider == "CPUExecutionProvider" or shutil.which("nvidia-smi") is None:
        return processor()
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def operations(graph: Path, lengths: Sequence[int]) -> float:
    """Count multiplications and additions that texts of some lengths need, without padding.

    Products with weights take two for every weight and token, the two of a layer's attention two
    for every pair of tokens and component each.
    """
    import onnx

    model = onnx.load(str(graph))
    tables = {item.name: item.dims for item in model.graph.initializer if len(item.dims) == 2}
    tables |= {
        node.output[0]: tables[node.input[0]]
        for node in model.graph.node if node.op_type == "Identity" and node.input[0] in tables
    }  # fmt: skip
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    weights = [tables[node.input[1]] for node in products if node.input[1] in tables]
    hidden = int(np.median([rows for rows, _ in weights]))
    attention = (len(products) - len(weights)) * 2 * hidden * sum(n * n for n in lengths)
    return 2 * sum(rows * columns for rows, columns in weights) * sum(lengths) + attention


def encoding(
    encoder: Encoder, graph: Path, texts: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure tokens a second of batches, one by one, and of sentence-transformers."""
    lengths = [len(ids) for ids in encoder.document_token_ids(texts)]
    few = texts[: options.alone]
    alone = Encoder.load(
        options.model, provider=options.provider, threads=options.threads, batch_size=1
    )
    batched = median_ms(lambda: encoder.encode_document(texts), options.rounds) / 1000
    one_by_one = median_ms(lambda: alone.encode_document(few), options.rounds) / 1000
    found: dict[str, Any] = {
        "texts": len(texts),
        "tokens": sum(lengths),
        "batched_tokens_per_second": sum(lengths) / batched,
        "one_by_one_tokens_per_second": sum(lengths[: len(few)]) / one_by_one,
        "tflops": operations(graph, lengths) / batched / 1e12,
    }
    if options.peak_tflops:
        found["share_of_peak"] = found["tflops"] / options.peak_tflops
    if options.reference_model and importlib.util.find_spec("sentence_transformers"):
        found |= reference(encoder, texts, sum(lengths), options)
    return found


def reference(
    encoder: Encoder, texts: list[str], tokens: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure sentence-transformers on the same texts, device and precision."""
    import torch
    from sentence_transformers import MultiVectorEncoder

    device = "cpu" if encoder.provider == "CPUExecutionProvider" else "cuda"
    kind = torch.float16 if encoder.card.precision == "fp16" and device == "cuda" else torch.float32
    torch.set_num_threads(encoder.threads)
    model = MultiVectorEncoder(
        options.reference_model, device=device, model_kwargs={"dtype": kind}
    )  # fmt: skip

    def encode() -> list[Any]:
        found: list[Any] = model.encode_document(
            texts, batch_size=options.reference_batch, convert_to_numpy=True
        )
        return found

    took = median_ms(encode, options.rounds) / 1000
    pairs = zip(encoder.encode_document(texts), encode(), strict=True)
    alike = [(a * b).sum(axis=1) for a, b in pairs if a.shape == b.shape]
    return {
        "sentence_transformers_tokens_per_second": tokens / took,
        "sentence_transformers_precision": str(kind).removeprefix("torch."),
        "token_cosine": float(np.concatenate(alike).mean()) if alike else None,
    }


def scoring(
    encoder: Encoder, texts: list[str], asked: list[str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure MaxSim over documents that stay on the device, and over some that are scored once."""
    documents = encoder.encode_document(texts)
    documents = (documents * (options.scored // len(documents) + 1))[: options.scored]
    queries = encoder.encode_query(asked)
    size = sum(document.nbytes for document in documents)
    rows = []
    for dtype, share in (("float32", 1.0), ("float16", 0.5)):
        scorer = DeviceMaxSim(
            documents, provider=options.provider, dtype=dtype, memory=options.memory
        )
        took = median_ms(lambda scorer=scorer: [scorer(q) for q in queries], options.rounds) / 1000
        rows.append(
            {
                "what": f"MaxSim, {dtype}",
                "documents": len(documents),
                "query_tokens": float(np.mean([len(query) for query in queries])),
                "on_device": scorer.bytes_on_device,
                "ms": 1000 * took / len(queries),
                "gb_per_second": share * size * len(queries) / took / 1e9,
            }
        )
        if options.bandwidth:
            rows[-1]["share_of_bandwidth"] = rows[-1]["gb_per_second"] / options.bandwidth
    once = documents[:1000]
    for name, score in (
        ("1000 documents once, copied in float16 and scored", lambda: DeviceMaxSim(
            once, provider=options.provider, dtype="float16")(queries[0])),
        ("1000 documents once, NumPy on the CPU", lambda: maxsim_pairwise(queries[0], once)),
    ):  # fmt: skip
        took = median_ms(score, options.rounds) / 1000
        read = sum(document.nbytes for document in once)
        rows.append(
            {"what": name, "documents": len(once), "ms": 1000 * took,
             "gb_per_second": read / took / 1e9}
        )  # fmt: skip
    return rows


def main() -> None:
    """Print what computes, and two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", required=True, help="our fp16 or fp32 model folder")
    parser.add_argument("--provider", default="cuda")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch-tokens", type=int, default=16_384)
    parser.add_argument("--documents", type=int, default=100_000, help="of the dataset, at most")
    parser.add_argument("--alone", type=int, default=200, help="texts to encode one by one")
    parser.add_argument("--scored", type=int, default=20_000, help="documents to score")
    parser.add_argument("--memory", type=int, default=32 << 30, help="bytes to hold on the device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, help="of the card, in the model's precision")
    parser.add_argument("--bandwidth", type=float, help="of the card's memory, in GB/s")
    parser.add_argument("--reference-model", help="checkpoint for sentence-transformers")
    parser.add_argument("--reference-batch", type=int, default=128)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("gpu", options)
    encoder = Encoder.load(
        options.model, provider=options.provider, threads=options.threads,
        batch_size=256, batch_tokens=options.batch_tokens,
    )  # fmt: skip
    warnings.simplefilter("ignore", TruncationWarning)
    data = read_beir(options.dataset)
    texts = [text_to_encode(document) for document in data.documents[: options.documents]]
    asked = list(data.queries.values())[:QUERIES]
    graph = Path(options.model) / encoder.card.model_file
    result = {
        "card": card(encoder.provider),
        "provider": encoder.provider,
        "precision": encoder.card.precision,
        "threads": encoder.threads,
        "batch_tokens": options.batch_tokens,
        "encoding": encoding(encoder, graph, texts, options),
        "scoring": scoring(encoder, texts, asked, options),
    }
    print(table(result))
    run.save(options.json, result)


def table(results: dict[str, Any]) -> str:
    """Return what computes, and the figures of each part."""
    parts = {key: value for key, value in results.items() if key in ("encoding", "scoring")}
    lines = [f"{key}: {value}" for key, value in results.items() if key not in parts]
    for part in (results["encoding"], *results["scoring"]):
        rows = [
            (key, f"{value:,.4g}" if isinstance(value, float) else str(value))
            for key, value in part.items()
        ]
        lines += ["", markdown(("", ""), rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

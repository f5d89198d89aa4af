"""Scripts for systems that encode texts, run in environments of their own.

Standard library only: what imports this is the parent of processes whose peak memory is measured,
and that starts at the parent's.
"""

from __future__ import annotations

ENCODE = {
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

"""Make `encode(texts)`, given `model`, `threads` and `backend`."""

STORE = {
    "fastembed": """
import json, sys
from fastembed import LateInteractionTextEmbedding
from qdrant_client import QdrantClient, models
model, store, corpus = sys.argv[1:4]
rows = [json.loads(line) for line in open(corpus, encoding="utf-8")]
encoder = LateInteractionTextEmbedding(
    "answerdotai/answerai-colbert-small-v1", specific_model_path=model
)
client = QdrantClient(path=store)
client.create_collection("documents", vectors_config=models.VectorParams(
    size=96, distance=models.Distance.DOT, multivector_config=models.MultiVectorConfig(
        comparator=models.MultiVectorComparator.MAX_SIM)))
vectors = encoder.embed([row["text"] for row in rows], batch_size=16)
client.upsert("documents", [
    models.PointStruct(id=n, vector=vector.tolist(), payload=row)
    for n, (row, vector) in enumerate(zip(rows, vectors))
])
client.close()
""",
    "sentence-transformers": """
import json, os, pickle, sys
from sentence_transformers import MultiVectorEncoder
model, store, corpus = sys.argv[1:4]
rows = [json.loads(line) for line in open(corpus, encoding="utf-8")]
encoder = MultiVectorEncoder(model, device="cpu")
vectors = encoder.encode_document([row["text"] for row in rows])
os.makedirs(store)
with open(store + "/vectors.pickle", "wb") as stream:
    pickle.dump(vectors, stream)
""",
}

"""Encode and store documents: model, store and corpus are the arguments."""

SEARCH = {
    "fastembed": """
import atexit, sys
from fastembed import LateInteractionTextEmbedding
from qdrant_client import QdrantClient
encoder = LateInteractionTextEmbedding(
    "answerdotai/answerai-colbert-small-v1", specific_model_path=sys.argv[1]
)
client = QdrantClient(path=sys.argv[2])
atexit.register(client.close)
def search():
    vector = next(iter(encoder.query_embed(sys.argv[3])))
    return client.query_points("documents", query=vector.tolist(), limit=10).points
assert search()
""",
    "sentence-transformers": """
import pickle, sys
from sentence_transformers import MultiVectorEncoder
encoder = MultiVectorEncoder(sys.argv[1], device="cpu")
with open(sys.argv[2] + "/vectors.pickle", "rb") as stream:
    vectors = pickle.load(stream)
def search():
    query = encoder.encode_query([sys.argv[3]])
    return encoder.similarity(query, vectors)[0].topk(10)
search()
""",
}

"""Answer a query from what is stored: model, store and query are the arguments."""

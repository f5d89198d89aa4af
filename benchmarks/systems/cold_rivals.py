"""What `benchmarks.studies.cold_start` runs of rivals: each stores documents, then answers anew.

Standard library only; the scripts run in environments of their own.
"""

from __future__ import annotations

PREPARE = {
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

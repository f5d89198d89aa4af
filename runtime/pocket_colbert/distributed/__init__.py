"""Encode corpora that are too large for one machine, with Ray.

    encode_corpus(["s3://bucket/corpus"], "s3://bucket/encoded", workers=Workers(address="auto"))
    push(EncodedCorpus("s3://bucket/encoded"), "qdrant+https://search.example.com/papers")

`docs/distributed.md` describes what is read and written, and how an interrupted run resumes.
"""

from __future__ import annotations

from pocket_colbert.distributed.collecting import index_encoded
from pocket_colbert.distributed.corpus_sources import PartSize
from pocket_colbert.distributed.encoding import EncodingReport, encode_corpus
from pocket_colbert.distributed.parquet import EncodedCorpus
from pocket_colbert.distributed.workers import Workers

__all__ = [
    "EncodedCorpus", "EncodingReport", "PartSize", "Workers", "encode_corpus", "index_encoded",
]  # fmt: skip

"""Retrievers and rerankers for RAG frameworks, each behind an extra of its name."""

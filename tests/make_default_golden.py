"""Make `tests/data/golden/default.npz`: the default model in float32 by torch alone.

Not a test. Run after `models/rebuild.sh`, which leaves the checkpoint in build/all-MiniLM-L6-v2.
Token ids come from transformers and vectors from torch; nothing of the runtime takes part.
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from pocket_colbert_export.checkpoint import load_checkpoint
from pocket_colbert_export.projection import fit_projection
from pocket_colbert_export.texts import probe_pairs

DATA = Path(__file__).parent / "data"


def main() -> None:
    """Write the file."""
    source = sys.argv[1] if len(sys.argv) > 1 else "build/all-MiniLM-L6-v2"
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source)
    checkpoint = load_checkpoint(source)
    fit_projection(checkpoint, 96, [text for pair in probe_pairs() for text in pair])
    weight = checkpoint.heads[0].weight
    skip = torch.tensor(tokenizer.convert_tokens_to_ids(list(string.punctuation)))
    arrays = {}
    for number, text in enumerate(json.loads((DATA / "golden_texts.json").read_text("utf-8"))):
        for task, limit in (("query", 64), ("document", 300)):
            batch = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
            with torch.no_grad():
                vectors = model(**batch).last_hidden_state[0] @ weight.T
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
            if task == "document":
                vectors = vectors[~torch.isin(batch["input_ids"][0], skip)]
            arrays[f"{task}{number}"] = vectors.numpy().astype(np.float32)
    np.savez_compressed(DATA / "golden" / "default.npz", **arrays)


if __name__ == "__main__":
    main()

"""Make the golden vectors of the bundled models: in float32, by torch alone.

Not a test. Run after `models/rebuild.sh`, which leaves the checkpoints in build/.
Token ids come from transformers and vectors from torch; nothing of the runtime or the exporter
takes part.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

DATA = Path(__file__).parents[1] / "data"
MODELS = {name: f"build/pocket-colbert-{name}" for name in ("small", "tiny")}


def main() -> None:
    """Write the files."""
    for name, source in MODELS.items():
        arrays = golden(Path(source))
        np.savez_compressed(DATA / "golden" / f"{name}.npz", **arrays)


def golden(source: Path) -> dict[str, np.ndarray]:
    """Return the vectors of all golden texts, as queries and as documents."""
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source)
    weight = load_file(source / "1_Dense" / "model.safetensors")["linear.weight"]
    settings = json.loads((source / "config_sentence_transformers.json").read_text())
    skip = torch.tensor(tokenizer.convert_tokens_to_ids(settings["skiplist_words"]))
    expanded = settings["query_expansion"]["length"]
    arrays = {}
    for number, text in enumerate(json.loads((DATA / "golden_texts.json").read_text("utf-8"))):
        words = tokenizer(text, add_special_tokens=False)["input_ids"]
        for task in ("query", "document"):
            marker = tokenizer.convert_tokens_to_ids(settings[f"{task}_prefix"].strip())
            room = settings[f"{task}_length"] - 3
            ids = [tokenizer.cls_token_id, marker, *words[:room], tokenizer.sep_token_id]
            mask = [1] * len(ids)
            if task == "query" and len(ids) < expanded:
                mask += [0] * (expanded - len(ids))
                ids += [tokenizer.mask_token_id] * (expanded - len(ids))
            batch = torch.tensor([ids]), torch.tensor([mask])
            with torch.no_grad():
                hidden = model(input_ids=batch[0], attention_mask=batch[1]).last_hidden_state[0]
            vectors = torch.nn.functional.normalize(hidden @ weight.T, dim=-1)
            if task == "document":
                vectors = vectors[~torch.isin(batch[0][0], skip)]
            arrays[f"{task}{number}"] = vectors.numpy().astype(np.float32)
    return arrays


if __name__ == "__main__":
    main()

"""Make the reference vectors in `tests/data/golden` with sentence-transformers.

Not a test. sentence-transformers 6 needs transformers 5 and the exporter needs transformers 4, so
this runs in an environment of its own and leaves its results behind:

    python -m venv reference && reference/bin/pip install torch sentence-transformers==6.2.0
    reference/bin/python tests/tools/make_golden.py [CHECKPOINT]

It writes tiny randomly initialised checkpoints in the layouts that exist, and for each the
vectors that `MultiVectorEncoder` gives for the texts in `golden_texts.json`. With CHECKPOINT it
writes the vectors of that checkpoint too (tests skip them where the checkpoint is absent).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.multi_vector_encoder.modules import (
    HierarchicalTokenPooling,
    MultiVectorMask,
)
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

DATA = Path(__file__).parents[1] / "data"
TEXTS = json.loads((DATA / "golden_texts.json").read_text(encoding="utf-8"))
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = "the of and to in capital france paris germany berlin is a what city river runs through"


def main() -> None:
    """Write all checkpoints and vectors."""
    shutil.rmtree(DATA / "checkpoints", ignore_errors=True)
    (DATA / "golden").mkdir(exist_ok=True)
    torch.manual_seed(7)
    pylate(DATA / "checkpoints" / "pylate")
    stanford(DATA / "checkpoints" / "stanford")
    multi_vector(DATA / "checkpoints" / "multi-vector")
    for folder in sorted((DATA / "checkpoints").iterdir()):
        golden(folder, DATA / "golden" / f"{folder.name}.npz")
    if len(sys.argv) > 1:
        golden(Path(sys.argv[1]), DATA / "golden" / f"{Path(sys.argv[1]).name}.npz")


def golden(checkpoint: Path, output: Path) -> None:
    """Write the reference vectors of a checkpoint."""
    model = MultiVectorEncoder(str(checkpoint), device="cpu", model_kwargs={"dtype": "float32"})
    arrays: dict[str, Any] = {}
    for text_number, text in enumerate(TEXTS):
        # One at a time: padding must not matter, so the reference is free of it.
        arrays[f"query{text_number}"] = model.encode_query([text], convert_to_numpy=True)[0]
        arrays[f"document{text_number}"] = model.encode_document([text], convert_to_numpy=True)[0]
    np.savez_compressed(output, **{key: value.astype(np.float32) for key, value in arrays.items()})
    print(output, sum(len(value) for value in arrays.values()), "token vectors")  # noqa: T201


def tokenizer(markers: tuple[str, ...] = ("[unused0]", "[unused1]")) -> PreTrainedTokenizerFast:
    """Make a WordPiece tokenizer over letters, digits, punctuation and a few words."""
    tokens = ["[PAD]", *markers, "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [
        *LETTERS,
        *("##" + letter for letter in LETTERS),
        *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    ]
    tokens += [word for word in WORDS.split() if word not in tokens]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        pad_token="[PAD]", mask_token="[MASK]", model_max_length=64,
    )  # fmt: skip


def backbone(vocabulary: int) -> BertModel:
    """Make a tiny BERT with weights large enough for attention to matter."""
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False).eval()


def pylate(folder: Path) -> None:
    """PyLate: two Dense heads, the second with bias, activation and residual."""
    tokens = tokenizer()
    backbone(len(tokens)).save_pretrained(folder)
    tokens.save_pretrained(folder)
    module = "pylate.models.Dense.Dense"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    ]
    for number, (inputs, outputs, bias, activation, residual) in enumerate(
        [(32, 32, True, "activation.GELU", True), (32, 16, False, "linear.Identity", False)],
        start=1,
    ):
        place = f"{number}_Dense"
        modules.append({"idx": number, "name": str(number), "path": place, "type": module})
        layer = Dense(inputs, outputs, bias=bias)
        (folder / place).mkdir()
        from safetensors.torch import save_file

        save_file(layer.state_dict(), str(folder / place / "model.safetensors"))
        write(folder / place / "config.json", {
            "in_features": inputs, "out_features": outputs, "bias": bias, "use_residual": residual,
            "activation_function": f"torch.nn.modules.{activation}",
        })  # fmt: skip
    write(folder / "modules.json", modules)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 39, "do_lower_case": False})
    write(folder / "config_sentence_transformers.json", {
        "model_type": "ColBERT", "prompts": {}, "default_prompt_name": None,
        "similarity_fn_name": "MaxSim", "query_prefix": "[unused0]", "document_prefix": "[unused1]",
        "query_length": 16, "document_length": 40, "attend_to_expansion_tokens": True,
        "skiplist_words": ["!", ".", ",", "?"],
    })  # fmt: skip


def stanford(folder: Path) -> None:
    """Stanford ColBERT: head among the backbone's weights, settings in artifact.metadata."""
    from safetensors.torch import save_file

    tokens = tokenizer()
    model = backbone(len(tokens))
    folder.mkdir(parents=True)
    tokens.save_pretrained(folder)
    state = {f"bert.{key}": value.contiguous() for key, value in model.state_dict().items()}
    state["linear.weight"] = torch.randn(24, 32) / 6
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = model.config.to_dict()
    config["architectures"] = ["HF_ColBERT"]
    write(folder / "config.json", config)
    write(folder / "artifact.metadata", {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]",
        "doc_token": "[D]", "attend_to_mask_tokens": False, "dim": 24, "similarity": "cosine",
        "query_maxlen": 12, "doc_maxlen": 36, "mask_punctuation": True,
    })  # fmt: skip


def multi_vector(folder: Path) -> None:
    """sentence-transformers 6: mask, normalisation and pooling modules, text prompts."""
    work = folder.with_name("work")
    tokens = tokenizer()
    backbone(len(tokens)).save_pretrained(work)
    tokens.save_pretrained(work)
    transformer = Transformer(
        str(work), document_length=30, query_length=20,
        query_expansion={"strategy": "min", "attend": False, "length": 10},
    )  # fmt: skip
    from sentence_transformers.base.modules import Normalize

    model = MultiVectorEncoder(
        modules=[
            transformer,
            Dense(32, 16, bias=True, activation_function=torch.nn.Tanh(),
                  module_input_name="token_embeddings"),
            MultiVectorMask(skiplist_words=["the", "."], skiplist_tasks=["query", "document"]),
            Normalize(module_input_name="token_embeddings"),
            HierarchicalTokenPooling(pool_factor=2, num_protected_tokens=1),
        ],
        prompts={"query": "what is ", "document": "the city "},
        device="cpu",
    )  # fmt: skip
    model.save(str(folder))
    shutil.rmtree(work)
    (folder / "README.md").unlink(missing_ok=True)


def write(path: Path, values: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Tiny PyLate checkpoints with random weights. Needs torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**SIZES, "intermediate_size": 64, "initializer_range": 0.2}


def byte_level_tokenizer(folder: Path, **special: str) -> Any:
    """Save a byte-level BPE tokenizer without merges, as RoBERTa and ModernBERT use."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    names = list(special.values())
    vocabulary = {name: n for n, name in enumerate(dict.fromkeys(names))}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token=special["unk_token"]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{special['cls_token']} $A {special['sep_token']}",
        special_tokens=[(special[n], vocabulary[special[n]]) for n in ("cls_token", "sep_token")],
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.save_pretrained(folder)
    return tokenizer


ROBERTA = {
    "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>",
    "mask_token": "<mask>",
}  # fmt: skip
BERT = {
    "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}  # fmt: skip


def make_backbone(kind: str, folder: Path) -> None:
    """Save a tiny randomly initialised backbone with its tokenizer."""
    tokenizer = byte_level_tokenizer(folder, **(ROBERTA if "roberta" in kind else BERT))
    words = {"vocab_size": len(tokenizer) + 8, "pad_token_id": tokenizer.pad_token_id}
    config: Any
    if kind == "bert":
        config = transformers.BertConfig(**WIDE, **words, max_position_embeddings=320)
        model: Any = transformers.BertModel(config)
    elif kind == "roberta":
        config = transformers.RobertaConfig(**WIDE, **words, max_position_embeddings=322)
        model = transformers.RobertaModel(config)
    elif kind == "xlm-roberta":
        config = transformers.XLMRobertaConfig(**WIDE, **words, max_position_embeddings=322)
        model = transformers.XLMRobertaModel(config)
    elif kind == "distilbert":
        config = transformers.DistilBertConfig(
            dim=32, n_layers=2, n_heads=4, hidden_dim=64, initializer_range=0.2,
            max_position_embeddings=320, **words,
        )  # fmt: skip
        model = transformers.DistilBertModel(config)
    else:
        special = {
            f"{name}_token_id": tokenizer.cls_token_id if name in ("cls", "bos") else
            tokenizer.sep_token_id for name in ("cls", "bos", "sep", "eos")
        }  # fmt: skip
        config = transformers.ModernBertConfig(
            **SIZES | {"num_hidden_layers": 4}, **words, **special, intermediate_size=48,
            max_position_embeddings=320, local_attention=16, initializer_range=0.2,
            reference_compile=False,
        )  # fmt: skip
        model = transformers.ModernBertModel(config)
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.eval().save_pretrained(folder)


def as_pylate(folder: Path, hidden: int = 32, **settings: Any) -> None:
    """Put a PyLate head and settings around a backbone of a width."""
    from safetensors.torch import save_file

    (folder / "1_Dense").mkdir()
    torch.manual_seed(5)
    weights = {"linear.weight": torch.randn(12, hidden) / 6}
    save_file(weights, str(folder / "1_Dense/model.safetensors"))
    write = {
        "1_Dense/config.json": {
            "in_features": hidden, "out_features": 12, "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
        "config_sentence_transformers.json": {
            "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 24,
            "document_length": 300, "attend_to_expansion_tokens": False, "skiplist_words": ["."],
            **settings,
        },
    }  # fmt: skip
    for name, values in write.items():
        (folder / name).write_text(json.dumps(values))

"""Published ColBERT checkpoints as tiny random ones that are laid out as the real ones are.

File names, keys, markers, windows, activations, widths of heads and backbone are the published
ones; the number of layers, the vocabulary and the weights are not. `Layout.facts` says where each
came from. Nothing is fetched: the published files were read once, in copies that others keep.
"""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken

from tests.support.checkpoints import BERT, byte_level_tokenizer

IDENTITY = "torch.nn.modules.linear.Identity"
PUNCTUATION = list(string.punctuation)
WORDS = "the of and to in capital france paris germany berlin is a what city river runs through"


@dataclass(frozen=True)
class Layout:
    """One checkpoint, and what a reference needs to know to encode with it.

    Attributes:
        model: Its hub id.
        facts: Where its files were read.
        build: Writes the tiny checkpoint into a folder.
        layout: What the exporter must take it for.
        dim: Width of its token vectors.
        query_length: Tokens of a query at most, marker included.
        document_length: The same of a document.
        markers: Of queries and of documents.
        expansion: Whether queries are filled up with mask tokens.
        attend: Whether those are attended to.
        lower: Whether texts are lower-cased before the tokenizer sees them.
        transformer: Folder of the backbone and its tokenizer, in the checkpoint.
        heads: Folders of the Dense layers, first one first; none for Stanford ColBERT.
        variant: Tells apart several layouts of one model.
    """

    model: str
    facts: str
    build: Callable[[Path], None]
    layout: str
    dim: int
    query_length: int
    document_length: int
    markers: tuple[str, str]
    expansion: bool = True
    attend: bool = False
    lower: bool = False
    transformer: str = ""
    heads: tuple[str, ...] = ()
    variant: str = ""


def write(path: Path, values: Any, **options: Any) -> None:
    """Write JSON as the libraries do: two spaces, no newline at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, **({"indent": 2} | options)), encoding="utf-8")


def shaken(model: Any, seed: int) -> Any:
    """Give a model weights that are large enough for every part of it to matter."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.06)
    return model.eval()


def bert(folder: Path, hidden: int, heads: int, pad: str = "[PAD]") -> Any:
    """Write the files of a BERT tokenizer; return a tiny BERT for it."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = string.ascii_lowercase + string.digits
    words = [
        "[PAD]", *(f"[unused{n}]" for n in range(4)), "[UNK]", "[CLS]", "[SEP]", "[MASK]",
        *letters, *(f"##{letter}" for letter in letters), *string.punctuation, *WORDS.split(),
    ]  # fmt: skip
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(dict.fromkeys(words)) + "\n", encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(
        vocab_file=str(vocabulary), do_lower_case=True, pad_token=pad, model_max_length=512
    )
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, num_hidden_layers=2,
        num_attention_heads=heads, intermediate_size=64, max_position_embeddings=512,
        pad_token_id=0,
    )  # fmt: skip
    return shaken(transformers.BertModel(config), 11)


def modernbert(folder: Path, hidden: int, heads: int, intermediate: int) -> Any:
    """Write a tokenizer as PyLate saves ModernBERT's; return a tiny ModernBERT for it."""
    folder.mkdir(parents=True, exist_ok=True)
    byte_level_tokenizer(folder, **BERT)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    # ModernBERT's mask swallows the space before it; PyLate pads with it and adds its markers so.
    mask = AddedToken("[MASK]", lstrip=True, normalized=False, special=True)
    tokenizer.add_special_tokens({"mask_token": mask, "pad_token": "[MASK]"})
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.model_max_length = 8192
    tokenizer.save_pretrained(folder)
    config = transformers.ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, num_hidden_layers=3,
        num_attention_heads=heads, intermediate_size=intermediate, max_position_embeddings=8192,
        global_attn_every_n_layers=3, local_attention=128, global_rope_theta=160000.0,
        local_rope_theta=10000.0, reference_compile=False,
        pad_token_id=tokenizer.convert_tokens_to_ids("[PAD]"),
        bos_token_id=tokenizer.cls_token_id, cls_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id, sep_token_id=tokenizer.sep_token_id,
    )  # fmt: skip
    return shaken(transformers.ModernBertModel(config), 12)


def dense(place: Path, inputs: int, outputs: int, **settings: Any) -> None:
    """Write a Dense layer as PyLate does."""
    values = {
        "in_features": inputs, "out_features": outputs, "bias": False,
        "activation_function": IDENTITY, **settings,
    }  # fmt: skip
    write(place / "config.json", values, indent=None)
    torch.manual_seed(inputs + outputs)
    tensors = {"linear.weight": torch.randn(outputs, inputs) / inputs**0.5}
    if settings.get("use_residual") and inputs != outputs:
        tensors["residual.weight"] = torch.randn(outputs, inputs) / inputs**0.5
    save_file(tensors, str(place / "model.safetensors"))


def pylate_modules(folder: Path, heads: tuple[str, ...], transformer: str = "") -> None:
    """Write modules.json as PyLate does."""
    kinds = [
        "sentence_transformers.models.Transformer",
        *["pylate.models.Dense.Dense"] * len(heads),
    ]
    write(
        folder / "modules.json",
        [
            {"idx": n, "name": str(n), "path": path, "type": kind}
            for n, (path, kind) in enumerate(zip((transformer, *heads), kinds, strict=True))
        ],
    )


def pylate_settings(
    folder: Path, versions: tuple[str, str, str], markers: tuple[str, str],
    lengths: tuple[int, int], prompts: dict[str, str], model_type: bool, **more: Any,
) -> None:  # fmt: skip
    """Write config_sentence_transformers.json, its keys in PyLate's order."""
    named = ("sentence_transformers", "transformers", "pytorch")
    write(
        folder / "config_sentence_transformers.json",
        {
            **({"model_type": "ColBERT"} if model_type else {}),
            "__version__": dict(zip(named, versions, strict=True)),
            "prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "MaxSim",
            "query_prefix": markers[0], "document_prefix": markers[1],
            "query_length": lengths[0], "document_length": lengths[1],
            "attend_to_expansion_tokens": False, "skiplist_words": PUNCTUATION, **more,
        },
    )  # fmt: skip


def stanford_files(folder: Path, model: Any, dim: int, metadata: dict[str, Any], form: str) -> None:
    """Write config, weights with the head among them, and metadata as Stanford ColBERT does."""
    torch.manual_seed(dim)
    state = {f"bert.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    state["linear.weight"] = torch.randn(dim, model.config.hidden_size) / 16
    if form == "bin":
        positions = torch.arange(model.config.max_position_embeddings)[None]
        state["bert.embeddings.position_ids"] = positions  # transformers before 4.31 saved them
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = model.config.to_dict() | {"architectures": ["HF_ColBERT"]}
    write(folder / "config.json", config)
    write(folder / "artifact.metadata", metadata, indent=4)


def answerai(folder: Path) -> None:
    """Both layouts in one folder, as on the hub: Stanford's at the root, PyLate's beside it."""
    model = bert(folder, 384, 12)
    metadata = {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]",
        "doc_token": "[D]", "ncells": None, "centroid_score_threshold": None, "ndocs": None,
        "load_index_with_mmap": False, "index_path": None, "index_bsize": 64, "nbits": 1,
        "kmeans_niters": 4, "resume": False, "pool_factor": 1, "clustering_mode": "hierarchical",
        "protected_tokens": 0, "similarity": "cosine", "bsize": 32, "accumsteps": 1, "lr": 1e-5,
        "maxsteps": 15626, "save_every": None, "warmup": 781, "warmup_bert": None, "relu": False,
        "nway": 32, "use_ib_negatives": False, "reranker": False, "distillation_alpha": 1.0,
        "ignore_scores": False, "model_name": "answerdotai/AnswerAI-ColBERTv2.5-small",
        "schedule_free": False, "schedule_free_wd": 0.0, "kldiv_loss": True,
        "query_maxlen": 32, "attend_to_mask_tokens": False, "interaction": "colbert", "dim": 96,
        "doc_maxlen": 300, "mask_punctuation": True,
    }  # fmt: skip
    stanford_files(folder, model, 96, metadata, "safetensors")
    inner = folder / "0_Transformer"
    model.save_pretrained(inner)
    # The hub's has no tokenizer_config.json there: what is special comes from the defaults.
    shutil.copy(folder / "tokenizer.json", inner / "tokenizer.json")
    write(
        inner / "sentence_bert_config.json",
        {
            "max_seq_length": 512, "do_lower_case": False,
            "model_args": {"add_pooling_layer": False},
        },
    )  # fmt: skip
    dense(folder / "1_Dense", 384, 96)
    pylate_modules(folder, ("1_Dense",), "0_Transformer")
    pylate_settings(
        folder, ("4.0.2", "4.48.2", "2.6.0"), ("[unused0]", "[unused1]"), (32, 300), {}, False
    )


def answerai_stanford(folder: Path) -> None:
    """The same before PyLate's files were added to it."""
    answerai(folder)
    for name in ("0_Transformer", "1_Dense"):
        shutil.rmtree(folder / name)
    for name in ("modules.json", "config_sentence_transformers.json"):
        (folder / name).unlink()


def colbertv2(folder: Path) -> None:
    """Stanford ColBERT of 2021: no markers in the metadata, weights as a pickle."""
    metadata = {
        "nprobe": 2, "ncandidates": 8192, "index_path": None, "nbits": 1, "kmeans_niters": 20,
        "similarity": "cosine", "bsize": 8, "accumsteps": 1, "lr": 1e-5, "maxsteps": 400000,
        "save_every": None, "resume": False, "warmup": 20000, "warmup_bert": None, "relu": False,
        "nway": 64, "use_ib_negatives": True, "query_maxlen": 32, "attend_to_mask_tokens": False,
        "dim": 128, "doc_maxlen": 180, "mask_punctuation": True,
    }  # fmt: skip
    stanford_files(folder, bert(folder, 768, 12), 128, metadata, "bin")


def stale_modules(folder: Path) -> None:
    """mxbai-colbert-large-v1: Stanford ColBERT, with a modules.json that knows of no head."""
    metadata = {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]",
        "doc_token": "[D]", "nbits": 1, "similarity": "cosine", "query_maxlen": 128,
        "attend_to_mask_tokens": False, "interaction": "colbert", "dim": 128, "doc_maxlen": 256,
        "mask_punctuation": True,
    }  # fmt: skip
    stanford_files(folder, bert(folder, 1024, 16), 128, metadata, "safetensors")
    pylate_modules(folder, ())


def gte_moderncolbert(folder: Path) -> None:
    """PyLate of 2025 over ModernBERT-base's widths."""
    modernbert(folder, 768, 12, 1152).save_pretrained(folder)
    dense(folder / "1_Dense", 768, 128)
    pylate_modules(folder, ("1_Dense",))
    pylate_settings(
        folder, ("4.0.2", "4.48.2", "2.6.0+cu124"), ("[Q] ", "[D] "), (48, 300), {}, False,
        do_query_expansion=False,
    )  # fmt: skip
    write(folder / "sentence_bert_config.json", {"max_seq_length": 299, "do_lower_case": False})


def mxbai_edge(hidden: int, heads: int, intermediate: int, dim: int) -> Callable[[Path], None]:
    """PyLate over Ettin: texts lower-cased, two Dense layers, the first with a residual."""

    def build(folder: Path) -> None:
        modernbert(folder, hidden, heads, intermediate).save_pretrained(folder)
        dense(folder / "1_Dense", hidden, 2 * hidden, use_residual=True)
        dense(folder / "2_Dense", 2 * hidden, dim, use_residual=False)
        pylate_modules(folder, ("1_Dense", "2_Dense"))
        pylate_settings(
            folder, ("5.1.0", "4.56.1", "2.8.0"), ("[Q] ", "[D] "), (48, 512),
            {"query": "", "document": ""}, True, do_query_expansion=False,
        )  # fmt: skip
        write(folder / "sentence_bert_config.json", {"max_seq_length": 511, "do_lower_case": True})

    return build


def lateon_code_edge(folder: Path) -> None:
    """PyLate: two Dense layers without residual, a window of 2048."""
    modernbert(folder, 256, 4, 384).save_pretrained(folder)
    dense(folder / "1_Dense", 256, 512, use_residual=False)
    dense(folder / "2_Dense", 512, 48, use_residual=False)
    pylate_modules(folder, ("1_Dense", "2_Dense"))
    pylate_settings(
        folder, ("5.1.1", "4.57.3", "2.9.0+cu128"), ("[Q] ", "[D] "), (256, 2048),
        {"query": "", "document": ""}, True, do_query_expansion=False,
    )  # fmt: skip
    write(folder / "sentence_bert_config.json", {"max_seq_length": 2047, "do_lower_case": False})


def lateon(folder: Path) -> None:
    """PyLate: three Dense layers."""
    modernbert(folder, 768, 12, 1152).save_pretrained(folder)
    for number, (inputs, outputs) in enumerate([(768, 1536), (1536, 768), (768, 128)], start=1):
        dense(folder / f"{number}_Dense", inputs, outputs, use_residual=False)
    pylate_modules(folder, ("1_Dense", "2_Dense", "3_Dense"))
    pylate_settings(
        folder, ("5.1.1", "4.57.3", "2.9.0+cu128"), ("[Q] ", "[D] "), (32, 300),
        {"query": "", "document": ""}, True, do_query_expansion=False,
    )  # fmt: skip
    write(folder / "sentence_bert_config.json", {"max_seq_length": 299, "do_lower_case": False})


def lateon_saved_again(folder: Path) -> None:
    """The same as sentence-transformers 6.2 with transformers 5.24 saves it after loading it."""
    lateon(folder)
    base, multi = (
        "sentence_transformers.base.modules.",
        "sentence_transformers.multi_vector_encoder",
    )
    kinds = [
        ("", f"{base}transformer.Transformer"),
        *((f"{n}_Dense", f"{base}dense.Dense") for n in (1, 2, 3)),
        ("4_MultiVectorMask", f"{multi}.modules.multi_vector_mask.MultiVectorMask"),
        ("5_Normalize", f"{base}normalize.Normalize"),
    ]
    write(
        folder / "modules.json",
        [
            {"idx": n, "name": str(n), "path": path, "type": kind}
            for n, (path, kind) in enumerate(kinds)
        ],
    )
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    for number in (1, 2, 3):
        place = folder / f"{number}_Dense" / "config.json"
        settings = json.loads(place.read_text(encoding="utf-8"))
        del settings["use_residual"]
        write(place, settings | names, indent=4)
    mask = {"skiplist_words": PUNCTUATION, "skiplist_tasks": ["document"]}
    write(folder / "4_MultiVectorMask" / "config.json", mask | {"keep_only_token_ids": None})
    write(folder / "5_Normalize" / "config.json", names)
    settings = {
        "__version__": {
            "pytorch": "2.13.0+cpu", "sentence_transformers": "6.2.0", "transformers": "5.24.0",
        },
        "default_prompt_name": None, "model_type": "MultiVectorEncoder",
        "prompts": {"document": "[D] ", "query": "[Q] "}, "similarity_fn_name": None,
    }  # fmt: skip
    write(folder / "config_sentence_transformers.json", settings)
    settings = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "forward", "method_output_name": "last_hidden_state"}
        },
        "module_output_name": "token_embeddings", "query_length": 32, "document_length": 300,
    }  # fmt: skip
    write(folder / "sentence_bert_config.json", settings)
    tokenizer = {
        "backend": "tokenizers", "clean_up_tokenization_spaces": False, "cls_token": "[CLS]",
        "is_local": True, "local_files_only": False, "mask_token": "[MASK]",
        "model_max_length": 299, "pad_token": "[MASK]", "sep_token": "[SEP]",
        "tokenizer_class": "TokenizersBackend", "unk_token": "[UNK]",
    }  # fmt: skip
    write(folder / "tokenizer_config.json", tokenizer)
    (folder / "special_tokens_map.json").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rope = {
        kind: {"rope_theta": config.pop(key), "rope_type": "default"}
        for kind, key in (
            ("full_attention", "global_rope_theta"), ("sliding_attention", "local_rope_theta"),
        )
    }  # fmt: skip
    layers = ["full_attention", "sliding_attention", "sliding_attention"]
    write(folder / "config.json", config | {"rope_parameters": rope, "layer_types": layers})


def jina_colbert_v2(folder: Path) -> None:
    """Stanford ColBERT whose backbone is code of another repository: rotary XLM-RoBERTa."""
    bert(folder, 32, 4)
    code = "jinaai/xlm-roberta-flash-implementation--"
    config = {
        "_name_or_path": "jinaai/jina-embeddings-v3-xlm-large-pairs-vol5",
        "architectures": ["HF_ColBERT"], "attention_probs_dropout_prob": 0.1,
        "auto_map": {
            "AutoConfig": f"{code}configuration_xlm_roberta.XLMRobertaFlashConfig",
            "AutoModel": f"{code}modeling_xlm_roberta.XLMRobertaModel",
        },
        "bos_token_id": 0, "classifier_dropout": None, "emb_pooler": None, "eos_token_id": 2,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 32,
        "initializer_range": 0.02, "intermediate_size": 64, "layer_norm_eps": 1e-05,
        "load_trained_adapters": False, "lora_adaptations": None, "lora_alpha": 1, "lora_rank": 4,
        "matryoshka_dimensions": None, "max_position_embeddings": 8194, "num_attention_heads": 4,
        "num_hidden_layers": 2, "output_past": True, "pad_token_id": 1,
        "position_embedding_type": "rotary", "rotary_emb_base": 10000.0,
        "torch_dtype": "bfloat16", "transformers_version": "4.43.2", "truncate_dim": None,
        "type_vocab_size": 1, "use_cache": True, "use_flash_attn": True, "vocab_size": 160,
    }  # fmt: skip
    write(folder / "config.json", config)
    metadata = {
        "query_token_id": "[QueryMarker]", "doc_token_id": "[DocumentMarker]",
        "query_token": "[QueryMarker]", "doc_token": "[DocumentMarker]", "nbits": 2,
        "similarity": "cosine", "query_maxlen": 32, "attend_to_mask_tokens": True,
        "interaction": "colbert", "doc_maxlen": 300, "mask_punctuation": True,
    }  # fmt: skip
    write(folder / "artifact.metadata", metadata, indent=4)
    save_file({"linear.weight": torch.zeros(128, 32)}, str(folder / "model.safetensors"))


UNUSED, ADDED = ("[unused0]", "[unused1]"), ("[Q] ", "[D] ")
LAYOUTS = [
    Layout(
        "answerdotai/answerai-colbert-small-v1",
        "commits 6868316 (artifact.metadata), 0aa70ad and eb54a30 (0_Transformer, 1_Dense) on the "
        "hub; windows and markers from a whole PyLate copy of it.",
        answerai, "pylate", 96, 32, 300, UNUSED, transformer="0_Transformer", heads=("1_Dense",),
    ),
    Layout(
        "answerdotai/answerai-colbert-small-v1",
        "commit 6868316 on the hub.",
        answerai_stanford, "stanford", 96, 32, 300, UNUSED, variant="Stanford",
    ),
    Layout(
        "colbert-ir/colbertv2.0",
        "commit 0855eac on the hub (artifact.metadata, config.json, pytorch_model.bin).",
        colbertv2, "stanford", 128, 32, 180, UNUSED,
    ),
    Layout(
        "mixedbread-ai/mxbai-colbert-large-v1",
        "commits 6eea546 (artifact.metadata) and d2f33f0 (modules.json) on the hub.",
        stale_modules, "stanford", 128, 128, 256, UNUSED,
    ),
    Layout(
        "lightonai/GTE-ModernColBERT-v1",
        "commit cbbe533 on the hub: the files written here are that commit's, byte for byte "
        "(test_settings_are_the_published_bytes).",
        gte_moderncolbert, "pylate", 128, 48, 300, ADDED, expansion=False, heads=("1_Dense",),
    ),
    Layout(
        "mixedbread-ai/mxbai-edge-colbert-v0-17m",
        "Widths: Ettin's paper and LateOn-Code-edge, which was trained from it; lengths, markers, "
        "lower case and no expansion: its onnx_config.json as its users read it. That there are "
        "several Dense layers is reported; that the first has a residual is not certain.",
        mxbai_edge(256, 4, 384, 48), "pylate", 48, 48, 512, ADDED, expansion=False, lower=True,
        heads=("1_Dense", "2_Dense"),
    ),
    Layout(
        "mixedbread-ai/mxbai-edge-colbert-v0-32m",
        "Lengths, markers, lower case, no expansion and width: onnx_config.json of an export of it "
        "(raphaelsty/model-test on the hub). Dense layers as for 17m, which is not certain.",
        mxbai_edge(384, 6, 576, 64), "pylate", 64, 48, 512, ADDED, expansion=False, lower=True,
        heads=("1_Dense", "2_Dense"),
    ),
    Layout(
        "lightonai/LateOn-Code-edge",
        "commit a178850 on the hub (modules.json, config_sentence_transformers.json, "
        "2_Dense/config.json); that its projection is 256, 512, 48 wide is its users' word.",
        lateon_code_edge, "pylate", 48, 256, 2048, ADDED, expansion=False,
        heads=("1_Dense", "2_Dense"),
    ),
    Layout(
        "lightonai/LateOn",
        "commit 62911e1 on the hub: names of its files and values of its settings, as a program "
        "that pins them checks them. The widths between its three Dense layers are made up.",
        lateon, "pylate", 128, 32, 300, ADDED, expansion=False,
        heads=("1_Dense", "2_Dense", "3_Dense"),
    ),
    Layout(
        "lightonai/LateOn",
        "sentence-transformers 6.2 loaded what `lateon` writes and saved it again.",
        lateon_saved_again, "sentence-transformers", 128, 32, 300, ADDED, expansion=False,
        heads=("1_Dense", "2_Dense", "3_Dense"), variant="saved again",
    ),
]  # fmt: skip

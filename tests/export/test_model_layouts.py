"""docs/models.md, row by row: tiny checkpoints in the published layouts against plain torch."""

from __future__ import annotations

import hashlib
import json
import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pocket_colbert import Encoder, maxsim
from pocket_colbert.model.tokenizer import TokenizedText, Tokenizer
from tests.support.paths import HAS_TORCH

if not HAS_TORCH:
    pytest.skip("needs the export extra (torch)", allow_module_level=True)

import torch
import transformers
from safetensors.torch import load_file

from pocket_colbert_export import CheckpointError, export_model
from tests.support.model_layouts import LAYOUTS, Layout, gte_moderncolbert, jina_colbert_v2

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
QUERIES = ["", "What is the capital of France?", "UPPER case, (brackets)", "a " * 300]
DOCUMENTS = [
    "Paris is the capital of France. The river Seine runs through the city!",
    "naïve café 東京 😀",
    "Berlin: what it is, in the city of \"Germany\"?\nA river.",
    "the city of paris, " * 200,
]  # fmt: skip


@dataclass(frozen=True)
class Encoded:
    """One text as the reference has it."""

    input_ids: list[int]
    attention_mask: list[int]
    keep: NDArray[np.bool_]
    vectors: NDArray[np.float32]


class Reference:
    """ColBERT written out: transformers' tokenizer and backbone, the marker put in, the heads."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.layout = layout
        place = folder / layout.transformer
        saved_again = layout.layout == "sentence-transformers"  # by transformers 5
        kind = transformers.PreTrainedTokenizerFast if saved_again else transformers.AutoTokenizer
        self.tokenizer = kind.from_pretrained(place)
        self.stanford = layout.layout == "stanford"
        self.markers = [self.tokenizer.convert_tokens_to_ids(m) for m in layout.markers]
        assert self.tokenizer.unk_token_id not in self.markers
        skipped = (self.tokenizer.convert_tokens_to_ids(mark) for mark in string.punctuation)
        self.skiplist = set(skipped) - {self.tokenizer.unk_token_id}
        if self.stanford:
            pickled = folder / "pytorch_model.bin"
            state = torch.load(pickled) if pickled.exists() else load_file(
                folder / "model.safetensors")  # fmt: skip
            config = transformers.BertConfig.from_pretrained(folder)
            self.backbone: Any = transformers.BertModel(config)
            own = {k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")}
            own.pop("embeddings.position_ids", None)
            self.backbone.load_state_dict(own)
            self.heads = [(state["linear.weight"], None)]
        else:
            self.backbone = transformers.AutoModel.from_pretrained(place)
            self.heads = []
            for name in layout.heads:
                tensors = load_file(folder / name / "model.safetensors")
                residual = json.loads((folder / name / "config.json").read_text())
                self.heads.append((
                    tensors["linear.weight"],
                    tensors["residual.weight"] if residual.get("use_residual") else None,
                ))  # fmt: skip
        self.backbone.eval()

    def encode(self, task: str, text: str) -> Encoded:
        """Encode a query or a document alone."""
        layout, query = self.layout, task == "query"
        length = layout.query_length if query else layout.document_length
        marker = self.markers[0 if query else 1]
        options = {"truncation": True, "max_length": length - (not self.stanford)}
        if self.stanford:  # its own way: a full stop before the text makes room for the marker
            ids = self.tokenizer(". " + text, **options)["input_ids"]
            ids[1] = marker
        else:
            ids = self.tokenizer(text.lower() if layout.lower else text, **options)["input_ids"]
            ids = [ids[0], marker, *ids[1:]]
        attention = [1] * len(ids)
        if query and layout.expansion:
            missing = length - len(ids)
            ids += [self.tokenizer.mask_token_id] * missing
            attention += [int(layout.attend)] * missing
        keep = np.array([query or i not in self.skiplist for i in ids])
        with torch.no_grad():
            x = self.backbone(
                input_ids=torch.tensor([ids]), attention_mask=torch.tensor([attention])
            ).last_hidden_state[0]
            for weight, residual in self.heads:
                x = x @ weight.T + (0 if residual is None else x @ residual.T)
            x = x / x.norm(dim=-1, keepdim=True)
        return Encoded(ids, attention, keep, x.numpy()[keep])


def same_tokens(found: TokenizedText, wanted: Encoded) -> None:
    """Hold ids, attention and kept tokens against the reference's."""
    assert found.input_ids.tolist() == wanted.input_ids
    assert found.attention_mask.tolist() == wanted.attention_mask
    np.testing.assert_array_equal(found.keep, wanted.keep)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda item: item.model + item.variant)
def test_layouts(layout: Layout, tmp_path: Path) -> None:
    """Ids with markers, expansion, kept tokens, vectors and MaxSim are the reference's."""
    folder = tmp_path / "checkpoint"
    layout.build(folder)
    files = export_model(folder, tmp_path / "model", precision="fp32")
    report = json.loads((tmp_path / "model" / "export_report.json").read_text())
    assert report["source"]["layout"] == layout.layout
    config = files.config
    assert config.embedding_dim == layout.dim
    assert (config.query_length, config.document_length) == (
        layout.query_length, layout.document_length,
    )  # fmt: skip
    assert config.do_query_expansion == layout.expansion
    assert len(config.skiplist_ids) == len(string.punctuation)
    reference = Reference(folder, layout)
    assert [config.query_prefix_id, config.document_prefix_id] == reference.markers
    encoder = Encoder.load(tmp_path / "model", threads=1)
    tokenizer = Tokenizer(files.tokenizer, config)
    vectors: dict[str, list[Any]] = {"query": [], "document": []}
    for task, texts in (("query", QUERIES), ("document", DOCUMENTS)):
        for text in texts:
            wanted = reference.encode(task, text)
            tokenize = getattr(tokenizer, f"tokenize_{task}")
            same_tokens(tokenize(text), wanted)
            found = getattr(encoder, f"encode_{task}")([text])[0]
            np.testing.assert_allclose(found, wanted.vectors, atol=2e-5)
            vectors[task].append((found, torch.from_numpy(wanted.vectors)))
    for query, wanted_query in vectors["query"]:
        for document, wanted_document in vectors["document"]:
            score = (wanted_query @ wanted_document.T).max(dim=1).values.sum()
            assert maxsim(query, document) == pytest.approx(float(score), abs=1e-3)


def test_settings_are_the_published_bytes(tmp_path: Path) -> None:
    """GTE-ModernColBERT-v1 at commit cbbe533: its files' hashes, as others pin them."""
    gte_moderncolbert(tmp_path)
    published = {
        "config_sentence_transformers.json":
            "edbe6fd9b4ef756645baf9c979c3d8fe4307351fd8c1963018d0457deaedfed1",
        "modules.json": "02e279a7d7019ebac4183eb61ff776bb36688b0b01202849423bbc58850e99c5",
        "sentence_bert_config.json":
            "9238c37b0de481aab3ade5e78e063390a53ea7d9048b95df442e5b6f348e4387",
        "1_Dense/config.json": "413492b3eb17ea85ecd66ed2ef02366d2d141169f3e96292611e130396a99612",
    }  # fmt: skip
    for name, digest in published.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest, name


def test_code_of_a_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    """jina-colbert-v2: the error says whose code it is, whatever else there is to complain of."""
    jina_colbert_v2(tmp_path / "checkpoint")
    message = (
        r"config\.json: key 'auto_map' says that the backbone is the code "
        r"'jinaai/xlm-roberta-flash-implementation--modeling_xlm_roberta\.XLMRobertaModel'"
    )
    with pytest.raises(CheckpointError, match=message):
        export_model(tmp_path / "checkpoint", tmp_path / "model")
    # With a known model_type transformers would take its own class, absolute positions and all.
    config = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    (tmp_path / "checkpoint" / "config.json").write_text(
        json.dumps({**config, "model_type": "xlm-roberta"})
    )
    with pytest.raises(CheckpointError, match=message):
        export_model(tmp_path / "checkpoint", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_page_and_the_tests_tell_of_the_same_models() -> None:
    rows = re.findall(r"^\| \[?([\w.-]+/[\w.-]+)\]?[^|]*\| ([^|]+)\|.*\|$", PAGE.read_text(), re.M)
    told = {model for model, layout in rows if "refused" not in layout}
    assert told == {layout.model for layout in LAYOUTS}
    assert {model for model, layout in rows if "refused" in layout} == {"jinaai/jina-colbert-v2"}
    for layout in LAYOUTS:
        row = next(line for line in PAGE.read_text().splitlines() if f"| {layout.model} " in line)
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert cells[3] == f"{layout.dim}", layout.model
        assert f"{layout.query_length} / {layout.document_length}" in cells[4], layout.model

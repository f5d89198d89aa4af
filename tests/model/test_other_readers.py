"""The bundled models have what other readers of model folders look for."""

from __future__ import annotations

import json

import pytest

from pocket_colbert.model.folder import load_model_files, models_folder


@pytest.mark.parametrize("name", ["small", "tiny"])
def test_bundled_models_have_what_other_readers_need(name: str) -> None:
    folder = models_folder() / name
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    known = {token["content"] for token in tokenizer["added_tokens"]}
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    roles = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    assert all(settings[role] in known for role in roles)
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert json.loads((folder / "config.json").read_text())["model_type"] in ("bert", "electra")
    recipe = json.loads((folder / "onnx_config.json").read_text())
    assert {"config.json", "tokenizer_config.json"} <= set(recipe["pocket_colbert"]["files"])
    # next-plaid reads the ids of the markers from the recipe.
    assert (recipe["query_prefix_id"], recipe["document_prefix_id"]) == (1, 2)


def test_these_files_do_not_make_another_model() -> None:
    small, tiny = (load_model_files(name).card.fingerprint[:12] for name in ("small", "tiny"))
    assert (small, tiny) == ("a39b1ea76ea6", "6cd04ca9e41f")

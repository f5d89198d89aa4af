"""The package of npm gives the token ids, spans and vectors that Python gives."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import Encoder
from pocket_colbert.model.folder import models_folder
from tests.support.web import need_web, run_module

pytestmark = pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
TEXTS = [
    "",
    "   ",
    "\t\n\r\x1f\x85\u2028",
    "What is the capital of France?",
    "word " * 400,
    "a" * 101,
    "naïve café, résumé; Ångström e\u0301te\u0301 ﬁne ﬂow ½ ² ™ ℡",
    "ΟΔΟΣ Οδυσσεύς ΣΑΣ. İstanbul ISPARTA ß ẞ ǅ",
    "東京都 北京大学 ｶﾞ ﾊﾟ カタカナ 한국어 텍스트 𠀋 𫠠 𫢠",
    "ไทย မြန်မာ हिन्दी العربية עברית ئۇيغۇرچە",
    "🙂👨\u200d👩\u200d👧\u200d👦 🇩🇪 ☕️ 1️⃣ emoji🎉inside",
    "soft\u00adhyphen zero\u200bwidth \ufeffbom \u202eright\u202c ＦＵＬＬ ｗｉｄｔｈ",
    "[MASK] [mask] [unused1] [UNK] [CLS][SEP] [PAD]x [unused0",
    "x\ufffdy \0null \x7f del \ue000private",
    "don't-stop_it's $5.00 (a+b)^2 <tag> `code` {x|y} ~ @me #1",
    "\u166d \U000111c9 \u061d ؟ ‽ … — “quotes” «guillemets» 、。",
    "\U0001e944\u0897\u0301 \u1734 q\u0323\u0307 \U000105c9",
    "Übergrößenträger 𝒞𝓊𝓇𝓈𝒾𝓋ℯ ①②③ Ⅷ ㍿ \u3000wide\u3000space",
    "don’t " * 80 + "🙂",
]
SCRIPT = """
    const encoder = await pocket.load(given.model, { runtime: given.runtime });
    const result = [];
    for (const text of given.texts) {
        const [query, document] = [encoder.tokenizer.query(text), encoder.tokenizer.document(text)];
        const vectors = given.vectors
            ? [await encoder.encodeQuery([text]), await encoder.encodeDocument([text])]
            : [];
        result.push({
            query: query.ids,
            document: document.ids,
            attention: query.attention,
            lost: document.overflow,
            tokens: [encoder.queryTokens(text), encoder.documentTokens(text)],
            vectors: vectors.map(([{ data }]) => Array.from(data)),
        });
    }
    done(result);
"""


def in_code_points(text: str, span: tuple[int, int] | None) -> tuple[int, int] | None:
    """Turn a span in UTF-16 units into one in characters."""
    if span is None:
        return None
    units = text.encode("utf-16-le")
    start, end = (len(units[: 2 * n].decode("utf-16-le")) for n in span)
    return start, end


@pytest.mark.parametrize("runtime", ["native", "wasm"])
@pytest.mark.parametrize("model", ["tiny", "small"])
def test_odd_texts_have_the_same_tokens_and_vectors(model: str, runtime: str) -> None:
    need_web()
    encoder = Encoder.load(model)
    folder = str(models_folder() / model)
    texts = TEXTS if runtime == "native" else TEXTS[:12]
    given = {"model": folder, "texts": texts, "vectors": True, "runtime": runtime}
    for text, got in zip(texts, run_module(SCRIPT, given), strict=True):
        of_query, of_document = (
            encoder._tokenizer.tokenize_query(text), encoder._tokenizer.tokenize_document(text),
        )  # fmt: skip
        assert got["query"] == of_query.input_ids.tolist(), text
        assert got["attention"] == of_query.attention_mask.tolist(), text
        assert got["document"] == of_document.input_ids.tolist(), text
        assert got["lost"] == of_document.overflow
        for tokens, wanted in zip(
            got["tokens"], (encoder.query_tokens(text), encoder.document_tokens(text)), strict=True
        ):
            assert [in_code_points(text, t["span"]) for t in tokens] == [t.span for t in wanted]
            assert [token["label"] for token in tokens] == [token.label for token in wanted]
            rarities = [token["rarity"] for token in tokens]
            assert np.allclose(rarities, [token.rarity for token in wanted], atol=1e-6)
        wanted = [*encoder.encode_query([text]), *encoder.encode_document([text])]
        for vectors, embedding in zip(got["vectors"], wanted, strict=True):
            got_rows = np.array(vectors, dtype=np.float32).reshape(embedding.shape)
            if runtime == "native":
                assert np.abs(got_rows - embedding).max(initial=0) < 1e-3, text
            # Activations are rounded to 8 bits: one that falls on the other side moves a vector.
            cosines = (got_rows * embedding).sum(axis=1)
            assert cosines.min(initial=1) > 0.998 and cosines.mean() > 0.9995, text


def test_random_texts_of_all_of_unicode_have_the_same_token_ids() -> None:
    need_web()
    random_ = random.Random(7)
    # Of each hundred code points one or two, alone and between letters.
    codes = [c for c in range(0x20, 0x110000) if not 0xD800 <= c < 0xE000]
    chosen = sorted(random_.sample(codes[:0x3000], 6000) + random_.sample(codes, 14000))
    texts = [
        "".join(f"a{chr(c)}b{chr(c)} " for c in chosen[start : start + 25])
        for start in range(0, len(chosen), 25)
    ]
    encoder = Encoder.load("tiny")
    given = {"model": str(models_folder() / "tiny"), "texts": texts, "vectors": False}
    for text, got in zip(texts, run_module(SCRIPT, given), strict=True):
        assert got["document"] == encoder._tokenizer.tokenize_document(text).input_ids.tolist()


def test_a_narrower_width_and_maxsim(tmp_path: Path) -> None:
    need_web()
    texts = ["how tall is it?", "The tower is 96 metres tall.", "Bees swarm in May."]
    script = """
        const encoder = await pocket.load(given.model, { dim: 48 });
        const [query] = await encoder.encodeQuery(given.texts.slice(0, 1));
        const documents = await encoder.encodeDocument(given.texts.slice(1));
        done(documents.map((document) => pocket.maxsim(query, document)));
    """
    from pocket_colbert import maxsim

    encoder = Encoder.load("tiny", dim=48)
    (query,), documents = encoder.encode_query(texts[:1]), encoder.encode_document(texts[1:])
    got = run_module(script, {"model": str(models_folder() / "tiny"), "texts": texts})
    assert np.allclose(got, [float(maxsim(query, document)) for document in documents], atol=5e-3)

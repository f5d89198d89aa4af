"""Long documents: nothing is lost, nothing overflows, words stay whole, vectors are the same."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import models, pre_tokenizers, processors, trainers

from pocket_colbert import (
    Encoder,
    InvalidInputError,
    ModelConfig,
    Pruning,
    Splitting,
    text_splitting,
)
from pocket_colbert.model import tokenizer as tokenizer_module
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert.text_splitting import borders, split

PIECES = ["a", "word", "Über", "don't", "x" * 9, ".", "!?", '."', "。", "語", "日本", " ", "  "]
PIECES += ["\n", "\r\n\r\n", "\t", "\u00a0", "e\u0301", "😀", "...", "3.14"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=120).map("".join)
SENTENCES = [f"Sentence {n} is about {'the river ' * (n % 9)}and it ends here." for n in range(120)]
LONG = "\n\n".join(" ".join(SENTENCES[n : n + 5]) for n in range(0, 120, 5))
TRICKY = [
    "cafe\u0301 au lait", "İstanbul'da İKİ İ", "😀👍🏽 hi 👩‍👩‍👧", "日本語テスト。はい",
    "a\tb\r\nc\u00a0d", "  leading and trailing \n", "[MASK] and [SEP]", "naïve ﷺ x\u200by", "",
    "\u0301abc", "x\x00y",
]  # fmt: skip


def offsets_of(text: str, width: int = 3) -> NDArray[np.int64]:
    """Tokenise: pieces of up to `width` letters, CJK and marks alone, no white space."""
    pattern = rf"[語日本]|[^\W語日本]{{1,{width}}}|[^\w\s]"
    found = [match.span() for match in re.finditer(pattern, text)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def tokens_in(offsets: NDArray[np.int64], start: int, end: int) -> int:
    return int(((offsets[:, 0] >= start) & (offsets[:, 1] <= end)).sum())


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, budget=st.integers(1, 40), overlap=st.integers(0, 50))
def test_split_loses_nothing_and_keeps_words_whole(text: str, budget: int, overlap: int) -> None:
    offsets = offsets_of(text)
    spans = split(text, offsets, budget, overlap)
    if len(offsets) <= budget:
        assert spans == [(0, len(text))]
        return
    covered = np.zeros(len(text), dtype=bool)
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
        assert tokens_in(offsets, start, end) <= budget
        covered[start:end] = True
    assert all(covered[n] for n, letter in enumerate(text) if not letter.isspace())
    for (start, end), (next_start, next_end) in pairwise(spans):
        assert start < next_start and end < next_end
        assert tokens_in(offsets, next_start, end) <= min(overlap, budget // 2)
    for word in re.finditer(r"(?<!\S)[^\s。語日本]+(?!\S)", text):
        if tokens_in(offsets, *word.span()) <= budget:
            inside = range(word.start() + 1, word.end())
            assert not any(end in inside or start in inside for start, end in spans)


def test_split_prefers_paragraphs_then_sentences() -> None:
    text = "One two three four. Five six.\n\nSeven eight nine ten. Eleven twelve thirteen"
    spans = split(text, offsets_of(text, 20), 12, 0)
    assert [text[slice(*span)] for span in spans] == [
        "One two three four. Five six.",
        "Seven eight nine ten. Eleven twelve thirteen",
    ]
    wrapped = "It is a line that\nis wrapped. And it\ngoes on for some more\nwords still"
    spans = split(wrapped, offsets_of(wrapped, 20), 11, 4)
    assert [wrapped[slice(*span)] for span in spans] == [
        "It is a line that\nis wrapped.",
        "is wrapped. And it\ngoes on for some more",
        "on for some more\nwords still",
    ]


def test_split_takes_cjk_sentences() -> None:
    text = "これは文です。「はい？」と言った。次の文もあります。"
    spans = split(text, offsets_of(text, 1), 11, 0)
    assert [text[slice(*span)] for span in spans] == [
        "これは文です。", "「はい？」と言った。", "次の文もあります。",
    ]  # fmt: skip


@pytest.mark.parametrize("text", [". " * 300_000, "a" * 900_000, "(" * 300_000, ".." * 150_000])
def test_split_takes_linear_time(text: str) -> None:
    offsets = offsets_of(text)
    assert len(split(text, offsets, 300, 32)) < len(offsets) / 100


@pytest.mark.parametrize("text", TRICKY)
def test_document_spans_are_exact(encoder: Encoder, text: str) -> None:
    tokens = encoder.document_tokens(text, title="A İ title")
    (embedding,) = encoder.encode_document([f"A İ title {text}".strip()])
    assert len(tokens) == len(embedding)
    assert [token.label for token in tokens[:5]] == ["[CLS]", "[unused1]", "A", "İ", "title"]
    assert [token.span for token in tokens[:5]] == [None] * 5
    assert (tokens[-1].label, tokens[-1].span) == ("[SEP]", None)
    spans = [token.span for token in tokens if token.span]
    assert [text[slice(*span)] for span in spans] == [token.label for token in tokens[5:-1]]
    expected = re.sub(r"[\x00\u200b]|^\u0301", "", text)
    # A ligature that is read as several letters may be several tokens.
    shown = "".join(text[slice(*span)] for span in dict.fromkeys(spans))
    skipped = r"[\s'\x00\u200b]|\[(?!MASK|SEP)"
    assert re.sub(skipped, "", shown) == re.sub(skipped, "", expected)


def changed(folder: Path, target: Path, **recipe: object) -> Encoder:
    """Load a copy of a model folder with another recipe."""
    shutil.copytree(folder, target)
    path = target / "onnx_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(values | recipe), encoding="utf-8")
    return Encoder.load(target, threads=1)


@pytest.mark.parametrize("text", [*TRICKY, "İİ Paris İ in France"])
def test_lower_casing_and_text_prefixes_are_undone(
    tiny_model: Path, tmp_path: Path, text: str
) -> None:
    encoder = changed(
        tiny_model, tmp_path / "model", do_lower_case=True, document_prefix="the: ",
        document_prefix_id=None, query_prefix="of ", query_prefix_id=None,
    )  # fmt: skip
    tokens = encoder.document_tokens(text)
    assert len(tokens) == len(encoder.encode_document([text])[0])
    assert [token.label for token in tokens[:3]] == ["[CLS]", "the", ":"]
    assert all(token.span is None for token in tokens[:3])
    for token in [*tokens[3:-1], *encoder.query_tokens(text)]:
        if token.span is not None:
            assert token.label == text[slice(*token.span)] == token.label.strip() != ""
    if text.startswith("İİ"):
        assert "Paris" in [token.label for token in tokens]


def test_query_tokens_name_what_has_no_text(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model, threads=1)
    tokens = encoder.query_tokens("Paris, a city")
    assert len(tokens) == len(encoder.encode_query(["Paris, a city"])[0]) == 16
    labels = [token.label for token in tokens]
    assert labels == ["[CLS]", "[unused0]", "Paris", ",", "a", "city", "[SEP]", *["[MASK]"] * 9]
    assert [token.span for token in tokens[2:6]] == [(0, 5), (5, 6), (7, 8), (9, 13)]
    assert all(token.span is None for token in [*tokens[:2], *tokens[6:]])


@pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
def test_spans_follow_what_is_cut_off(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model, threads=1)
    text = "paris is in france " * 20
    spans = [token.span for token in encoder.document_tokens(text)]
    assert len(spans) == len(encoder.encode_document([text])[0]) == 40
    assert spans[:2] == [None, None] and spans[-1] is None
    assert [text[slice(*(span or ()))] for span in spans[2:6]] == ["paris", "is", "in", "france"]


@pytest.mark.parametrize("title", [None, "", "A title"])
@pytest.mark.parametrize("max_tokens", [None, 20, 100])
def test_passages_equal_documents_bit_for_bit(
    tiny_model: Path, title: str | None, max_tokens: int | None
) -> None:
    encoder = Encoder.load(tiny_model, threads=2)
    texts = [LONG[:1500], "  paris ", "", "x" * 90, "\n"]
    calls: list[tuple[int, int]] = []
    found = encoder.encode_passages(
        texts,
        titles=[title] * 5,
        splitting=Splitting(max_tokens=max_tokens, overlap=4),
        progress=lambda *call: calls.append(call),
    )
    assert encoder.truncated == 0 and calls[-1] == (5, 5) and calls == sorted(calls)
    for text, passages in zip(texts, found, strict=True):
        for passage in passages:
            part = text[passage.start : passage.end]
            (wanted,) = encoder.encode_document([f"{title or ''} {part}".strip()])
            if not (title or part.strip()):
                wanted = wanted[:0]  # markers alone are not searched
            assert passage.embedding.tobytes() == wanted.tobytes()
            assert len(passage.embedding) <= (max_tokens or 40)
    assert encoder.truncated == 0
    assert [(p.start, p.end) for passages in found[1:3] for p in passages] == [(0, 8), (0, 0)]
    assert len(found[0]) > 8 and len(found[3]) > 2


def test_passages_of_the_bundled_model(encoder: Encoder) -> None:
    before = encoder.truncated
    pruning = Pruning(keep=0.5)
    passages, short = encoder.encode_passages([LONG, "Short."], pruning=pruning)
    assert encoder.truncated == before and len(short) == 1 and 5 < len(passages) < 40
    first, last = passages[0], passages[-1]
    assert first.start == 0 and last.end == len(LONG)
    assert all(LONG[: passage.end].endswith("ends here.") for passage in passages)
    (wanted,) = encoder.encode_document([LONG[first.start : first.end]], pruning=pruning)
    assert first.embedding.tobytes() == wanted.tobytes()


def test_long_titles_leave_a_quarter_to_the_text(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model, threads=1)
    text, title = "paris is in france " * 10, "berlin in germany " * 50
    (passages,) = encoder.encode_passages([text], titles=[title])
    assert encoder.truncated == 0
    for passage in passages:
        assert len(passage.embedding) <= 40
        assert len(text[passage.start : passage.end].split()) == 10 or passage is passages[-1]
    (whole,) = encoder.encode_passages(["paris"], titles=["berlin " * 36])
    (wanted,) = encoder.encode_document(["berlin " * 36 + " paris"])
    assert encoder.truncated == 0 and whole[0].embedding.tobytes() == wanted.tobytes()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS, max_tokens=st.integers(6, 40), title=st.sampled_from([None, "is", "is in " * 9]))
def test_passages_never_overflow(
    tiny_encoder: Encoder, text: str, max_tokens: int, title: str | None
) -> None:
    splitting = Splitting(max_tokens=max_tokens)
    found = tiny_encoder._tokenizer.tokenize_passages(text, title, splitting)
    assert found
    if text.strip():
        assert max(tokenized.num_tokens for _, _, tokenized in found) <= max_tokens


@pytest.mark.parametrize("size", [17, 40, 64])
def test_texts_that_are_tokenised_in_segments_are_cut_between_words(
    tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    tokenizer = tiny_encoder._tokenizer
    text = "The capital of France is Paris, it is beautiful.\nBees swarm in May. " * 5
    whole, without_spaces = tokenizer._text_offsets(text), tokenizer._text_offsets("語" * 100)
    monkeypatch.setattr(tokenizer_module, "_SEGMENT", size)
    np.testing.assert_array_equal(tokenizer._text_offsets(text), whole)
    np.testing.assert_array_equal(tokenizer._text_offsets("語" * 100), without_spaces)
    assert len(whole) > 100 and without_spaces[-1, 1] == 100


@pytest.fixture(scope="module")
def tiny_encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(tiny_model, threads=1)


@pytest.fixture(scope="module", params=["byte-level", "metaspace"])
def bpe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer whose tokens hold spaces or parts of letters, and depend on what is before."""
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=request.param == "metaspace"))
    special = ["[CLS]", "[SEP]"]
    if request.param == "byte-level":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        alphabet, special = [], [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([LONG, "a word, don't"], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    backend.save(str(path))
    return Tokenizer(path, ModelConfig(embedding_dim=1, query_length=40, document_length=40))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS, max_tokens=st.integers(12, 40), title=st.sampled_from([None, "is a", "😀" * 30]))
def test_bpe_passages_fit_and_lose_nothing(
    bpe: Tokenizer, text: str, max_tokens: int, title: str | None
) -> None:
    found = bpe.tokenize_passages(text, title, Splitting(max_tokens=max_tokens, overlap=3))
    covered = np.zeros(len(text), dtype=bool)
    for start, end, tokenized in found:
        covered[start:end] = True
        assert tokenized.num_tokens <= max_tokens or not text.strip()
    assert all(covered[n] for n, letter in enumerate(text) if not letter.isspace())
    for token in bpe.document_tokens(text):
        if token.span is not None:
            assert token.label == text[slice(*token.span)] == token.label.strip() != ""


def test_bad_input_is_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(InvalidInputError, match="max_tokens must be above the 3"):
        tiny_encoder.encode_passages(["a b c"], splitting=Splitting(max_tokens=3))
    for titles in (["one"], "ab", ["a", 1]):
        with pytest.raises(InvalidInputError, match="titles must be a list of 2"):
            tiny_encoder.encode_passages(["a", "b"], titles=titles)  # type: ignore[arg-type]
    for values in ({"max_tokens": 0}, {"overlap": -1}, {"overlap": 1.5}):
        with pytest.raises(InvalidInputError, match="must be"):
            Splitting(**values)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="texts must be strings"):
        tiny_encoder.query_tokens(7)  # type: ignore[arg-type]
    assert Splitting.from_json(Splitting(max_tokens=9).to_json()) == Splitting(max_tokens=9)


@settings(max_examples=600, deadline=None)
@given(
    text=st.text(alphabet="ab.!?…؟।\"')]’»( \n\r\t\x1c\xa0\u2028éö", max_size=24),
    part=st.tuples(st.integers(0, 24), st.integers(0, 24)),
)
def test_borders_without_cjk_are_those_of_the_pattern(text: str, part: tuple[int, int]) -> None:
    start, end = sorted(min(place, len(text)) for place in part)
    quick = borders(text, start, end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_splitting, "_AMONG_CJK", re.compile(""))
        plain = borders(text, start, end)
    assert [column.tolist() for column in quick] == [column.tolist() for column in plain]


def test_borders_by_hand() -> None:
    text = 'One (two). "Three?"  four\nfive\n\nsix... .7 eight.'
    before, after, kinds = borders(text, 0, len(text))
    words = [text[a:b] for a, b in zip([0, *after], [*before, len(text)], strict=True)]
    assert words == ["One", "(two).", '"Three?"', "four", "five", "six...", ".7", "eight."]
    word, line, sentence, paragraph = 1, 2, 3, 4
    assert kinds.tolist() == [word, sentence, sentence, line, paragraph, sentence, word]

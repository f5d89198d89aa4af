"""Languages that a model was not made for: judged by tokens, ranked by keywords, and said."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pocket_colbert import (
    Document,
    EncodedDocument,
    Encoder,
    Index,
    IndexConfig,
    InvalidInputError,
    LanguageWarning,
    Passage,
    Retriever,
    SearchParameters,
)
from pocket_colbert.cli.commands import main
from pocket_colbert.config import READ, UNREAD
from pocket_colbert.model.folder import load_model_files
from pocket_colbert.search import searcher
from tests.support.cli import json_lines

OTHERS = {
    "ru": ("Где сидят кошки?", "Кошка сидит на окне и смотрит на улицу."),
    "zh": ("日本的首都是哪里", "东京是日本的首都，人口很多。"),
    "ja": ("東京の人口", "日本の首都は東京である。人口は千四百万人。"),
    "ar": ("أين المكتبة؟", "تقع مكتبة المدينة قرب النهر."),
    "ko": ("도서관은 어디에 있나요", "도서관이 강 옆에 있습니다."),
    "th": ("ห้องสมุดอยู่ที่ไหน", "ห้องสมุดตั้งอยู่ริมแม่น้ำ"),
    "hi": ("पुस्तकालय कहाँ है", "शहर का पुस्तकालय नदी के पास है।"),
    "el": ("Πού είναι η βιβλιοθήκη", "Η βιβλιοθήκη βρίσκεται δίπλα στο ποτάμι."),
    "vi": ("Thư viện ở đâu", "Thư viện của thành phố nằm cạnh sông."),
}
PART = {
    "de": ("Wo schläft der Hund nachts?", "Der Hund schläft nachts in der Küche auf einer Decke."),
    "pl": ("Gdzie mieszka stary rybak?", "Stary rybak mieszkał nad brzegiem zimnego jeziora."),
    "fi": ("Missä kirjasto sijaitsee?", "Kaupungin kirjasto sijaitsee joen rannalla."),
}
ENGLISH = [
    "Where does the dog sleep at night?",
    "who wrote Hamlet",
    "install the package",
    "x86 2",
    "😀 42",
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LanguageWarning)
        return Encoder.load("tiny", threads=1)


@pytest.fixture(scope="module")
def index(encoder: Encoder) -> Iterator[Index]:
    with Index(encoder.dim, threads=1) as index, warnings.catch_warnings():
        warnings.simplefilter("ignore", LanguageWarning)
        english = ["The dog sleeps in the kitchen.", "Cats sit at the window and look out."]
        documents = [Document(f"en{n}", text) for n, text in enumerate(english)]
        documents += [Document(name, text) for name, (_, text) in {**OTHERS, **PART}.items()]
        Retriever(encoder, index).add(documents)
        index.commit()
        yield index


def test_a_model_says_what_it_was_made_for(tmp_path: Path) -> None:
    for name in ("small", "tiny"):
        assert load_model_files(name).card.languages == ("en",)


def test_texts_are_judged_by_their_tokens(encoder: Encoder) -> None:
    for name, texts in OTHERS.items():
        for text in texts:
            assert encoder.query(text).readable < UNREAD, name
    for name, texts in PART.items():
        for text in texts:
            assert UNREAD <= encoder.query(text).readable < READ, name
    for text in ENGLISH:
        assert encoder.query(text).readable >= READ, text
    for text in ("xkcd qzxv", "GZK 9"):
        assert UNREAD < encoder.query(text).readable
    (readable,) = encoder.encode_query([OTHERS["ru"][0]]).readable
    assert readable == encoder.query(OTHERS["ru"][0]).readable


def test_an_index_keeps_how_much_of_a_passage_the_model_can_read(
    encoder: Encoder, index: Index, tmp_path: Path
) -> None:
    assert index.info().unread == len(OTHERS)
    assert index.count_readable_below(READ) == len(OTHERS) + len(PART)
    (russian,), (english,) = index.passages("ru"), index.passages("en0")
    assert russian.readable < UNREAD and english.readable == 1
    index.save(tmp_path / "copy")
    with Index.load(tmp_path / "copy", writable=True) as copy:
        assert copy.passages("ru")[0].readable == russian.readable
        copy.delete(["zh"])
        copy.compact()
        assert copy.info().unread == len(OTHERS) - 1
    document = Document("a", "text")
    wrong = Passage(0, 4, np.eye(1, encoder.dim, dtype=np.float32), 1.5)
    with pytest.raises(InvalidInputError, match="from 0 to 1, got 1.5"):
        Index(encoder.dim).add_documents([EncodedDocument(document, [wrong])])


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.filterwarnings("ignore::pocket_colbert.LanguageWarning")
def test_keywords_lead_where_the_model_cannot_read(
    encoder: Encoder, index: Index, language: str
) -> None:
    retriever = Retriever(encoder, index)
    query, _ = OTHERS[language]
    assert retriever.ranked_by(encoder.query(query)) == "keywords"
    wanted = SearchParameters(hybrid="keywords", word_starts=True)
    assert retriever.retrieve([query]) == retriever.retrieve([query], parameters=wanted)
    assert retriever.retrieve([query])[0][0].document_id == language
    meaning = SearchParameters(hybrid="off")
    assert retriever.ranked_by(encoder.query(query), meaning) == "meaning"
    assert len(retriever.retrieve([query], 100, parameters=meaning)[0]) == len(index)


@pytest.mark.parametrize("language", PART)
def test_both_rank_where_the_model_knows_only_the_letters(
    encoder: Encoder, index: Index, language: str
) -> None:
    retriever = Retriever(encoder, index)
    query, _ = PART[language]
    assert retriever.ranked_by(encoder.query(query)) == "both"
    assert retriever.retrieve([query])[0][0].document_id == language


def test_english_is_ranked_as_before_and_reads_no_keywords(
    encoder: Encoder, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "bm25", None)
    retriever = Retriever(encoder, index)
    hits = retriever.retrieve(ENGLISH)
    assert hits == retriever.retrieve(ENGLISH, parameters=SearchParameters(hybrid="off"))
    with Index(encoder.dim, threads=1) as english:
        Retriever(encoder, english).add([Document("a", "Adiponectin lowers insulin in the mice.")])
        unusual = "adiponectin hyperinsulinemia"  # rare words, as another language has them
        assert encoder.query(unusual).readable < READ
        assert Retriever(encoder, english).ranked_by(encoder.query(unusual)) == "meaning"
        assert Retriever(encoder, english).retrieve([unusual])[0]


def test_queries_of_several_languages_come_back_in_their_order(
    encoder: Encoder, index: Index
) -> None:
    queries = [ENGLISH[0], OTHERS["ru"][0], PART["de"][0], OTHERS["zh"][0], ENGLISH[0]]
    with pytest.warns(LanguageWarning):
        hits = Retriever(encoder, index).retrieve(queries, 2)
    assert [found[0].document_id for found in hits] == ["en0", "ru", "de", "zh", "en0"]


def test_a_warning_comes_once_a_kind(encoder: Encoder, index: Index) -> None:
    retriever = Retriever(encoder, index)
    with pytest.warns(LanguageWarning, match=r"it reads en.*keywords rank") as caught:
        for name in ("ru", "zh"):
            retriever.retrieve([OTHERS[name][0]])
    assert len(caught) == 1 and caught[0].filename == __file__
    fresh = Encoder.load("tiny", threads=1)
    with pytest.warns(LanguageWarning, match="1 of 2 passages") as caught:
        fresh.encode_passages([OTHERS["ru"][1], "In English."])
        fresh.encode_passages([OTHERS["zh"][1]])
    assert len(caught) == 1 and fresh.unread == 2


def test_without_keywords_meaning_ranks_and_the_warning_says_so(encoder: Encoder) -> None:
    config = IndexConfig(dim=encoder.dim, keywords="none")
    with Index(encoder.dim, config=config, threads=1) as index:
        retriever = Retriever(encoder, index)
        retriever.add([Document("a", "In English.")])
        with pytest.warns(LanguageWarning, match="no keywords to rank by"):
            assert retriever.retrieve([OTHERS["ru"][0]])[0][0].document_id == "a"


def test_the_best_passage_is_the_one_with_the_words(encoder: Encoder) -> None:
    texts = ["Кошка сидит на окне.", "Библиотека стоит у реки.", "Поезд уходит утром."]
    vectors = encoder.encode_document(texts)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    passages = [
        Passage(int(start), int(start) + len(text), vector)
        for text, start, vector in zip(texts, starts, vectors, strict=False)
    ]
    with Index(encoder.dim, threads=1) as index:
        index.add_documents([EncodedDocument(Document("a", " ".join(texts)), passages)])
        with pytest.warns(LanguageWarning):
            ((hit,),) = Retriever(encoder, index).retrieve(["где библиотеки"])
        assert hit.passages[0].start == starts[1]


@pytest.mark.filterwarnings("always::pocket_colbert.LanguageWarning")
def test_the_shell_says_by_what_it_ranked(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "ru.txt").write_text(OTHERS["ru"][1], encoding="utf-8")
    (tmp_path / "docs" / "en.txt").write_text("The dog sleeps in the kitchen.")
    folder = str(tmp_path / "docs.index")
    arguments = ["index", str(tmp_path / "docs"), "--into", folder, "--model", "tiny"]
    made = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert (
        "1 passages are in a language that the model was not made for (it reads en)" in made.stderr
    )
    shown = CliRunner().invoke(main, ["info", folder], catch_exceptions=False)
    assert "made for: en" in shown.stdout and "1 passages in other languages" in shown.stdout
    described = json.loads(CliRunner().invoke(main, ["info", folder, "--json"]).stdout)
    assert described["languages"] == ["en"] and described["unread"] == 1
    for query, ranked_by in ((OTHERS["ru"][0], "keywords"), ("dog", "meaning")):
        found = CliRunner().invoke(
            main, ["search", folder, query, "--json"], catch_exceptions=False
        )
        assert {hit["ranked_by"] for hit in json_lines(found.stdout)} == {ranked_by}
        assert ("keywords rank its documents" in found.stderr) == (ranked_by == "keywords")


@pytest.mark.parametrize("languages", ["en", ["english language"], [1], {"en": 1}])
def test_languages_of_a_model_are_checked(tmp_path: Path, languages: object) -> None:
    from pocket_colbert import ModelFormatError

    source = load_model_files("tiny").folder
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    recipe = json.loads((tmp_path / "onnx_config.json").read_text())
    recipe["pocket_colbert"]["languages"] = languages
    (tmp_path / "onnx_config.json").write_text(json.dumps(recipe))
    with pytest.raises(ModelFormatError, match="list of language codes"):
        load_model_files(tmp_path)
    recipe["pocket_colbert"]["languages"] = ["ru", "pt_BR", "zh-Hant"]
    (tmp_path / "onnx_config.json").write_text(json.dumps(recipe))
    other = Encoder.load(tmp_path, threads=1)
    assert other.card.fingerprint == load_model_files("tiny").card.fingerprint
    assert other.query("東京").readable == 1.0  # pieces of one character are words there

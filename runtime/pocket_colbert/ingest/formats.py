"""Which reader reads a file: by what its first bytes say, and by the end of its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pocket_colbert.ingest import data_readers, markup_readers, office_readers, text_readers
from pocket_colbert.ingest.archives import unpack_gzip
from pocket_colbert.ingest.decoding import declared_encoding, decode
from pocket_colbert.ingest.extracted import (
    BinaryFileError,
    Deadline,
    Extracted,
    Limits,
    UnreadableFileError,
)
from pocket_colbert.ingest.html_reader import read_html
from pocket_colbert.ingest.mail_reader import read_mailbox, read_message
from pocket_colbert.ingest.markdown_reader import read_markdown
from pocket_colbert.ingest.roff_reader import looks_like_roff, read_roff


@dataclass
class Content:
    """The bytes of a file that is being read.

    Attributes:
        name: Its name, without .gz if it was compressed.
        data: Its bytes, unpacked.
        limits: How much work it may cost.
        deadline: When that work must be done.
        notes: What was assumed about it, for the user.
    """

    name: str
    data: bytes
    limits: Limits
    deadline: Deadline
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Decode the bytes."""
        decoded = decode(self.data, declared_encoding(self.data))
        if decoded.assumed:
            self.notes.append(f"read as {decoded.assumed}, which was guessed")
        return decoded.text


ContentReader = Callable[[Content], Iterator[Extracted]]


def _of_text(read: Callable[[str, Deadline], Extracted]) -> ContentReader:
    def reader(content: Content) -> Iterator[Extracted]:
        yield read(content.text(), content.deadline)

    return reader


def _of_bytes(read: Callable[[bytes, Deadline, Limits], Extracted]) -> ContentReader:
    def reader(content: Content) -> Iterator[Extracted]:
        yield read(content.data, content.deadline, content.limits)

    return reader


def _mailbox(content: Content) -> Iterator[Extracted]:
    yield from read_mailbox(content.data, content.deadline, content.limits)


READERS: Mapping[str, ContentReader] = {
    "text": _of_text(lambda text, _: text_readers.read_plain(text)),
    "log": _of_text(lambda text, _: text_readers.read_plain(text)),
    "config": _of_text(lambda text, _: text_readers.read_plain(text)),
    "code": _of_text(text_readers.read_code),
    "subtitles": _of_text(text_readers.read_subtitles),
    "markdown": _of_text(read_markdown),
    "html": _of_text(read_html),
    "rst": _of_text(markup_readers.read_rst),
    "asciidoc": _of_text(markup_readers.read_asciidoc),
    "org": _of_text(markup_readers.read_org),
    "latex": _of_text(markup_readers.read_latex),
    "man": _of_text(read_roff),
    "json": _of_text(data_readers.read_json),
    "notebook": _of_text(data_readers.read_notebook),
    "csv": _of_text(data_readers.read_csv),
    "tsv": _of_text(lambda text, end: data_readers.read_csv(text, end, tabs=True)),
    "xml": _of_text(data_readers.read_xml),
    "email": _of_bytes(lambda data, end, _: read_message(data, end)),
    "mailbox": _mailbox,
    "pdf": _of_bytes(lambda data, end, _: office_readers.read_pdf(data, end)),
    "docx": _of_bytes(office_readers.read_docx),
    "pptx": _of_bytes(office_readers.read_pptx),
    "xlsx": _of_bytes(office_readers.read_xlsx),
    "odt": _of_bytes(office_readers.read_odt),
    "epub": _of_bytes(office_readers.read_epub),
    "rtf": _of_bytes(lambda data, end, _: office_readers.read_rtf(data, end)),
}
"""The reader of each kind. Rows of JSON lines, which are documents of their own, are in
`readers.py`."""

KINDS: Mapping[str, str] = {
    **dict.fromkeys(("txt", "text", "me", "1st"), "text"),
    **dict.fromkeys(("md", "markdown", "mdown", "mkd", "mdx", "qmd", "rmd"), "markdown"),
    **dict.fromkeys(("html", "htm", "xhtml", "xht", "shtml"), "html"),
    **dict.fromkeys(("rst", "rest"), "rst"),
    **dict.fromkeys(("adoc", "asciidoc", "asc"), "asciidoc"),
    "org": "org",
    **dict.fromkeys(("tex", "latex", "ltx", "sty", "cls"), "latex"),
    **dict.fromkeys(("man", "mdoc", "roff"), "man"),
    **dict.fromkeys(("json", "geojson", "webmanifest", "json5", "jsonc"), "json"),
    "ipynb": "notebook",
    "csv": "csv",
    **dict.fromkeys(("tsv", "tab"), "tsv"),
    **dict.fromkeys(("xml", "rss", "atom", "xsd", "xsl", "xslt", "opml", "docbook", "dbk"), "xml"),
    **dict.fromkeys(("srt", "vtt"), "subtitles"),
    "eml": "email",
    **dict.fromkeys(("mbox", "mbx"), "mailbox"),
    **dict.fromkeys(("log", "out", "err"), "log"),
    **dict.fromkeys(
        ("yaml", "yml", "toml", "ini", "cfg", "conf", "properties", "env", "service", "desktop"),
        "config",
    ),
    **dict.fromkeys(
        (
            "py", "pyi", "pyx", "js", "mjs", "cjs", "jsx", "ts", "tsx", "java", "kt", "kts",
            "scala", "c", "h", "cc", "cpp", "cxx", "hpp", "hh", "hxx", "cs", "go", "rs", "rb",
            "php", "swift", "m", "mm", "sh", "bash", "zsh", "fish", "ps1", "bat", "cmd", "pl",
            "pm", "lua", "r", "jl", "hs", "ml", "mli", "ex", "exs", "erl", "clj", "cljs", "lisp",
            "el", "scm", "dart", "groovy", "gradle", "sql", "vue", "svelte", "css", "scss",
            "less", "tf", "proto", "graphql", "nim", "zig", "f90", "f95", "asm", "s", "v", "vhd",
            "sv", "cmake", "mk", "dockerfile", "tcl", "vb", "pas", "cu", "cuh", "nix", "elm",
            "fs", "fsx", "sol", "awk",
        ),
        "code",
    ),
    "pdf": "pdf",
    **dict.fromkeys(("docx", "docm"), "docx"),
    **dict.fromkeys(("pptx", "pptm"), "pptx"),
    **dict.fromkeys(("xlsx", "xlsm"), "xlsx"),
    **dict.fromkeys(("odt", "ods", "odp"), "odt"),
    "epub": "epub",
    "rtf": "rtf",
}  # fmt: skip
"""The kind of a file by the end of its name, in lower case."""

NAMES: Mapping[str, str] = {
    "makefile": "code", "dockerfile": "code", "rakefile": "code", "gemfile": "code",
    "jenkinsfile": "code", "cmakelists.txt": "code", "vagrantfile": "code",
}  # fmt: skip
"""The kind of a file by its whole name, in lower case."""

NEEDS_EXTRA = {"pdf", "docx", "pptx", "xlsx", "odt", "epub", "rtf"}
"""Kinds that `pocket-colbert[files]` reads."""

_BINARY = {
    "png", "jpg", "jpeg", "gif", "bmp", "ico", "webp", "tif", "tiff", "heic", "avif", "psd", "mp3",
    "mp4", "m4a", "m4v", "mov", "avi", "mkv", "webm", "wav", "flac", "ogg", "exe", "dll", "so",
    "dylib", "o", "a", "obj", "class", "jar", "war", "pyc", "pyo", "pyd", "whl", "wasm", "bin",
    "dat", "db", "sqlite", "sqlite3", "parquet", "feather", "arrow", "npy", "npz", "pkl", "onnx",
    "pt", "safetensors", "h5", "ttf", "otf", "woff", "woff2", "eot", "iso", "dmg", "img", "deb",
    "rpm", "msi", "apk",
}  # fmt: skip
"""Ends of names of files that are no text, unless they are it."""

_MANUAL = re.compile(r"\.[1-9](?:[a-z]{1,4})?$")
_ZIP_KINDS = (
    (b"word/", "docx"), (b"ppt/", "pptx"), (b"xl/", "xlsx"),
)  # fmt: skip
_GENERATED = re.compile(
    r"(?:\.min\.(?:js|css)|\.map|package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|"
    r"pnpm-lock\.yaml|poetry\.lock|uv\.lock|cargo\.lock|composer\.lock|gemfile\.lock|go\.sum|"
    r"\.svg)$"
)


def is_generated(name: str) -> bool:
    """Return whether a name is that of a file which programs write for programs."""
    return _GENERATED.search(name.lower()) is not None


def kind_of(name: str, data: bytes) -> str:
    """Return the kind of a file.

    What the first bytes say goes before the end of the name where they leave no doubt, so a PDF
    is read as one whatever its name.

    Args:
        name: The name of the file, without .gz.
        data: Its bytes.

    Raises:
        UnreadableFileError: No reader reads it.
    """
    named = NAMES.get(name.lower()) or KINDS.get(
        name.lower().rpartition(".")[2] if "." in name else ""
    )
    head = data[:4096]
    found = _by_magic(head, data)
    if found:
        return found
    suffix = name.lower().rpartition(".")[2] if "." in name else ""
    if suffix in _BINARY and not _is_plain(data):
        raise BinaryFileError
    if named in NEEDS_EXTRA and named is not None:
        if not data.strip():
            raise UnreadableFileError("it is empty", "")
        named = None  # its name says what it is not
    if _MANUAL.search(name.lower()) and (named is None or named == "code"):
        return "man" if looks_like_roff(_head_text(data)) else "text"
    if named:
        return named
    return _by_text(_head_text(data))


def _is_plain(data: bytes) -> bool:
    """Return whether bytes are ASCII text, which no binary file is by chance."""
    head = data[:4096]
    return len(head) > 16 and head.isascii() and b"\0" not in head


def _by_magic(head: bytes, data: bytes) -> str | None:
    if head[:1024].lstrip().startswith(b"%PDF-") or b"%PDF-" in head[:64]:
        return "pdf"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(head, data)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise UnreadableFileError(
            "it is encrypted, or of an old Office format",
            "save it without a password as .docx, .xlsx or .pptx",
        )
    if head.startswith(
        (b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd")
    ):
        raise UnreadableFileError("it is an archive", "unpack it first")
    return None


def _zip_kind(head: bytes, data: bytes) -> str:
    if b"mimetypeapplication/epub+zip" in head[:100]:
        return "epub"
    if b"mimetypeapplication/vnd.oasis.opendocument" in head[:100]:
        return "odt"
    tail = data[-200_000:]  # the directory of the archive
    for folder, kind in _ZIP_KINDS:
        if folder in tail or folder in head:
            return kind
    if b"[Content_Types].xml" in head or b"content.xml" in tail:
        raise UnreadableFileError("it is damaged or of an unknown Office format", "save it again")
    raise UnreadableFileError("it is an archive", "unpack it first")


def _head_text(data: bytes) -> str:
    try:
        return decode(data[:8192]).text
    except BinaryFileError:
        for cut in range(1, 4):  # a character may be cut in two
            try:
                return decode(data[: 8192 - cut]).text
            except BinaryFileError:
                continue
        raise


def _by_text(head: str) -> str:
    start = head.lstrip()[:200].lower()
    if start.startswith(("<!doctype html", "<html")):
        return "html"
    if start.startswith("<?xml"):
        return "html" if "<html" in head.lower() else "xml"
    if looks_like_roff(head):
        return "man"
    if re.match(r"From \S+.*\d\d:\d\d", head):
        return "mailbox"
    return "code" if start.startswith("#!") else "text"


def read_content(path: Path, data: bytes, limits: Limits) -> tuple[str, Content]:
    """Unpack a file and say of which kind it is.

    Args:
        path: The file.
        data: Its bytes.
        limits: How much work it may cost.

    Returns:
        The kind, and what to give to the reader of that kind.
    """
    name = path.name
    if data.startswith(b"\x1f\x8b"):
        data = unpack_gzip(data, limits)
        name = re.sub(r"\.gz$", "", name, flags=re.I)
        if re.search(r"\.(?:tar|tgz)$", name, re.I):
            raise UnreadableFileError("it is an archive", "unpack it first")
    elif name.lower().endswith(".gz"):
        raise UnreadableFileError("it is no gzip file, or damaged", "pack it again")
    content = Content(name, data, limits, Deadline(limits.seconds))
    return kind_of(name, data), content

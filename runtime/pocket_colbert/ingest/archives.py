"""Archives and compressed files, which are not trusted: nothing is unpacked beyond its limits."""

from __future__ import annotations

import io
import zipfile
import zlib

from pocket_colbert.ingest.extracted import Limits, UnreadableFileError

_OFFICE_BYTES = 100_000_000
"""What the parts of an office document that are read may hold; parsed, they take several times
that."""
_MEDIA_BYTES = 128_000_000
"""What pictures and films may hold: nobody looks at them, but libraries read them, too."""
_MEDIA = (
    ".png", ".jpg", ".jpeg", ".gif", ".mp4", ".mp3", ".wav", ".emf", ".wmf", ".ttf", ".otf",
)  # fmt: skip


def unpack_gzip(data: bytes, limits: Limits) -> bytes:
    """Return what a gzip file holds.

    Raises:
        UnreadableFileError: It is damaged, or holds more than the limits allow.
    """
    parts: list[bytes] = []
    size, rest = 0, data
    while rest:
        unpacker = zlib.decompressobj(31)
        try:
            part = unpacker.decompress(rest, limits.unpacked_bytes - size + 1)
        except zlib.error as error:
            if parts:  # padding after the last member
                break
            raise UnreadableFileError(f"it is damaged ({error})", "pack it again") from error
        parts.append(part)
        size += len(part)
        if size > limits.unpacked_bytes:
            raise UnreadableFileError(
                f"it unpacks to more than {limits.unpacked_bytes // 1_000_000} MB",
                "unpack and split it",
            )
        if not unpacker.eof:
            raise UnreadableFileError("it is cut short", "pack it again")
        rest = unpacker.unused_data.lstrip(b"\0")
    return b"".join(parts)


class Archive:
    """A zip file whose parts are read one by one, within limits."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Open it.

        Raises:
            UnreadableFileError: It is damaged or encrypted, or holds more than the limits allow.
        """
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            entries = self._zip.infolist()
        except (
            zipfile.BadZipFile,
            ValueError,
            OverflowError,
            NotImplementedError,
            OSError,
        ) as error:
            raise UnreadableFileError(f"it is damaged ({error})", "save it again") from error
        if len(entries) > limits.entries:
            raise UnreadableFileError(f"it holds more than {limits.entries} files", "leave it out")
        media = sum(e.file_size for e in entries if e.filename.lower().endswith(_MEDIA))
        parts = sum(e.file_size for e in entries) - media
        allowed = min(limits.unpacked_bytes, _OFFICE_BYTES)
        for what, size, most in (("", parts, allowed), (" of media", media, _MEDIA_BYTES)):
            if size > most:
                raise UnreadableFileError(
                    f"it unpacks to {size // 1_000_000} MB{what}, more than {most // 1_000_000}",
                    "split it",
                )
        if any(entry.flag_bits & 1 for entry in entries):
            raise UnreadableFileError("it is encrypted", "save it without a password")
        self.names: set[str] = {entry.filename for entry in entries}

    def read(self, name: str) -> bytes:
        """Return one part.

        Raises:
            UnreadableFileError: It is missing or damaged.
        """
        try:
            return self._zip.read(name)
        except KeyError:
            raise UnreadableFileError(f"it is damaged (no {name})", "save it again") from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            RuntimeError,
            NotImplementedError,
            OSError,
        ) as error:
            raise UnreadableFileError(f"it is damaged ({error})", "save it again") from error

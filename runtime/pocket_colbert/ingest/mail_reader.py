"""E-mail: messages of .eml files and of mailboxes."""

from __future__ import annotations

import email
import email.policy
import email.utils
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message

from pocket_colbert.ingest.decoding import clean, declared_encoding, decode
from pocket_colbert.ingest.extracted import (
    BinaryFileError,
    Deadline,
    Extracted,
    Limits,
    TextBuilder,
    UnreadableFileError,
)
from pocket_colbert.ingest.html_reader import read_html

_HEADERS = ("From", "To", "Cc", "Date")
_DEEPEST = 30
_HEADER_LENGTH = 2_000
"""Characters of a header that are read: decoding takes quadratic time."""


def read_message(data: bytes, deadline: Deadline, key: str = "") -> Extracted:
    """Return a message: its subject as title, who wrote when to whom, and its text."""
    try:
        message = email.message_from_bytes(data, policy=email.policy.compat32)
        return _extracted(message, deadline, key)
    except (ValueError, LookupError, AttributeError, TypeError, IndexError) as error:
        raise UnreadableFileError(f"it is not an e-mail ({error})", "repair it") from error
    except RecursionError:
        raise UnreadableFileError("its parts are nested too deeply", "save it again") from None


def read_mailbox(data: bytes, deadline: Deadline, limits: Limits) -> Iterator[Extracted]:
    """Return each message of an mbox file."""
    start = 0 if data.startswith(b"From ") else data.find(b"\nFrom ") + 1
    number = 0
    while 0 <= start < len(data):
        following = data.find(b"\n\nFrom ", start)
        end = len(data) if following < 0 else following + 1
        first = data.find(b"\n", start) + 1
        number += 1
        if number > limits.entries:
            raise UnreadableFileError(f"it has more than {limits.entries} messages", "split it")
        found = read_message(
            data[first:end].replace(b"\n>From ", b"\nFrom "), deadline, f":{number}"
        )
        if found.text.strip() or found.title:
            yield found
        start = end + 1 if following >= 0 else len(data)


def _extracted(message: Message, deadline: Deadline, key: str) -> Extracted:
    builder = TextBuilder(deadline)
    values = {name: _header(message, name) for name in _HEADERS}
    builder.block("\n".join(f"{name}: {value}" for name, value in values.items() if value))
    attachments: list[str] = []
    _write_parts(message, builder, deadline, attachments, 0)
    if attachments:
        builder.block("Attachments: " + ", ".join(attachments))
    metadata = {name.lower(): value for name, value in values.items() if value}
    date = email.utils.parsedate_tz(values["Date"]) if values["Date"] else None
    if date:
        metadata["date"] = f"{date[0]:04}-{date[1]:02}-{date[2]:02}"
    return builder.result(_header(message, "Subject") or None, metadata, key)


def _header(message: Message, name: str) -> str:
    raw = str(message.get(name) or "")[:_HEADER_LENGTH]
    try:
        value = str(make_header(decode_header(raw)))
    except (ValueError, LookupError, AttributeError, TypeError, HeaderParseError):
        value = raw
    return " ".join(clean(value).split())


def _write_parts(
    message: Message, builder: TextBuilder, deadline: Deadline, attachments: list[str], depth: int
) -> None:
    if depth > _DEEPEST:
        raise UnreadableFileError(f"its parts are nested deeper than {_DEEPEST}", "save it again")
    deadline.check()
    name = message.get_filename()
    kind = message.get_content_type()
    if message.is_multipart():
        parts = [part for part in message.get_payload() if isinstance(part, Message)]
        if kind == "multipart/alternative":
            plain = [part for part in parts if part.get_content_type() == "text/plain"]
            parts = plain[:1] or parts[-1:]
        for part in parts:
            if kind == "message/rfc822":
                builder.block(f"Subject: {_header(part, 'Subject')}")
            _write_parts(part, builder, deadline, attachments, depth + 1)
    elif name or message.get_content_disposition() == "attachment":
        attachments.append(" ".join(clean(str(name or kind)).split()))
    elif kind in ("text/plain", "text/html"):
        payload = message.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
        charset = message.get_content_charset()
        try:
            text = decode(data, charset or declared_encoding(data)).text
        except BinaryFileError:
            return
        builder.block(read_html(text, deadline).text if kind == "text/html" else text)

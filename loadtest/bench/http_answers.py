"""The least of HTTP/1.1 that a load generator has to read: status, content-length, body. Pure."""

from typing import NamedTuple

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class BadHttp(ValueError):
    """What came is no answer that has a status and a content-length; the message says what it is."""


class Answer(NamedTuple):
    """One whole answer; `head` is everything before the body."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name, None when there is none."""
        wanted = name.lower().encode()
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == wanted:
                return value.strip().decode("latin-1")
        return None


class AnswerParser:
    """Takes bytes as they come, gives whole answers. One a connection."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that are whole now. Raises BadHttp; the connection is then of no more use."""
        self._pending = self._pending + data if self._pending else data
        answers = []
        while (answer := self._take()) is not None:
            answers.append(answer)
        return answers

    def _take(self) -> Answer | None:
        end = self._pending.find(_HEAD_END)
        if end < 0:
            return None
        head = self._pending[:end]
        if not head.startswith(b"HTTP/1.1 ") or not head[9:12].isdigit():
            raise BadHttp(f"no HTTP/1.1 status line: {head[:60]!r}")
        body_at = end + len(_HEAD_END)
        body_end = body_at + _content_length(head)
        if len(self._pending) < body_end:
            return None
        answer = Answer(int(head[9:12]), head, self._pending[body_at:body_end])
        self._pending = self._pending[body_end:]
        return answer


def _content_length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(_LENGTH)
    if at < 0:
        raise BadHttp(f"no content-length: {head[:200]!r}")
    text = lower[at + len(_LENGTH) :].split(b"\r\n", 1)[0].strip()
    if not text.isdigit():
        raise BadHttp(f"content-length {text!r}")
    return int(text)


def encode_post(url_path: str, host: str, headers: dict[str, str], body: bytes) -> bytes:
    """A whole POST request."""
    lines = [f"POST {url_path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + _HEAD_END + body

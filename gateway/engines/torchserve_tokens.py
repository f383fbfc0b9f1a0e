"""TorchServe's tokens, from the file that it writes when it starts, or from whichever file of a folder fits.

Several TorchServe on one volume write into folders of their own (workers/torch/launcher.py), and none says whose they
are: so they are tried, the newest first, and the one that was not refused is remembered. Tokens are read anew when a
restarted TorchServe no longer knows ours.
"""

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from gateway.core.errors import EngineUnreachable
from gateway.engines.http_connections import Answer

KEY_FILE = "key_file.json"


class Tokens:
    """Of one TorchServe. `path` is its key file, or a folder with key files in it or in folders in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] = {}

    async def ask(self, kind: str, call: Callable[[str], Awaitable[Answer]]) -> Answer:
        """One call with the token of this kind (`inference` or `management`), and again while it is refused.

        Raises EngineUnreachable when there is no token.
        """
        refused: dict[str, Answer] = {}
        if (known := self._known.get(kind)) is not None:
            answer = await call(known)
            if not is_refusal(answer):
                return answer
            refused[known] = answer
        for token in self._read_all(kind):
            if token not in refused:
                answer = refused[token] = await call(token)
                if not is_refusal(answer):
                    self._known[kind] = token
                    return answer
        if not refused:
            raise EngineUnreachable(f"torchserve has written no tokens to {self._path} yet")
        return next(reversed(refused.values()))

    def _read_all(self, kind: str) -> Iterator[str]:
        """Raises EngineUnreachable for a token that cannot be sent."""
        for path in self._files():
            try:
                token = str(json.loads(path.read_bytes())[kind]["key"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not written yet, or just removed
            if not token.isprintable():
                raise EngineUnreachable(f"{path} holds no tokens but something else")
            yield token

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        files = [self._path / KEY_FILE, *self._path.glob(f"*/{KEY_FILE}")]
        return sorted(files, key=_changed_at, reverse=True)


def is_refusal(answer: Answer) -> bool:
    """Whether TorchServe does not know the token."""
    status, body = answer
    return status == 400 and b"InvalidKeyException" in body


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

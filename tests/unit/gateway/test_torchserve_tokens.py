"""TorchServe's tokens in a folder that several of them write into: the one that fits is found and remembered."""

import json
import os
from pathlib import Path

import pytest

from gateway.core.errors import EngineUnreachable
from gateway.engines.http_connections import Answer
from gateway.engines.torchserve_tokens import Tokens

GOOD = (200, b"{}")
REFUSED = (400, b'{"type": "InvalidKeyException"}')


class Server:
    """Knows one token; `asked` are those that it was asked with."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.asked: list[str] = []

    async def call(self, token: str) -> Answer:
        self.asked.append(token)
        return GOOD if token == self.token else REFUSED


def write(folder: Path, token: str, at_s: int) -> None:
    folder.mkdir(exist_ok=True)
    keys = folder / "key_file.json"
    keys.write_text(json.dumps({"inference": {"key": token}}))
    os.utime(keys, (at_s, at_s))


async def test_the_newest_are_tried_first_and_the_one_that_fits_is_remembered(tmp_path: Path) -> None:
    for at_s, name in enumerate(("old", "mine", "new")):
        write(tmp_path / name, name, at_s)
    tokens, server = Tokens(tmp_path), Server("mine")
    assert await tokens.ask("inference", server.call) == GOOD
    assert server.asked == ["new", "mine"]
    assert await tokens.ask("inference", server.call) == GOOD
    assert server.asked == ["new", "mine", "mine"]


async def test_a_server_that_was_started_again_in_another_folder_is_found(tmp_path: Path) -> None:
    write(tmp_path / "before", "before", 1)
    tokens, server = Tokens(tmp_path), Server("before")
    await tokens.ask("inference", server.call)
    server.token = "after"
    assert await tokens.ask("inference", server.call) == REFUSED, "it has written none yet"
    write(tmp_path / "after", "after", 2)
    assert await tokens.ask("inference", server.call) == GOOD


async def test_a_folder_may_be_the_one_that_has_the_file(tmp_path: Path) -> None:
    write(tmp_path, "here", 1)
    assert await Tokens(tmp_path).ask("inference", Server("here").call) == GOOD
    assert await Tokens(tmp_path / "key_file.json").ask("inference", Server("here").call) == GOOD


async def test_without_a_token_nobody_is_asked(tmp_path: Path) -> None:
    server = Server("any")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "key_file.json").write_text('{"inference": ')
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(EngineUnreachable, match="has written no tokens"):
            await Tokens(path).ask("inference", server.call)
    assert server.asked == []

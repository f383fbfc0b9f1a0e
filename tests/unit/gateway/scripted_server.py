"""A real HTTP server on loopback that answers by a script, byte for byte, well or badly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NEVER = b"never"
CLOSE = b"close"


@dataclass
class Server:
    """Gives each request the next of `answers`, OK when there are none left. CLOSE closes, NEVER waits for the end.

    `requests`: each one's connection, head and body. `ended`: connections that the client has closed.
    """

    answers: list[bytes] = field(default_factory=list)
    requests: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    ended: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    came: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    connections: int = 0
    url: str = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                self.requests.append((number, head, await reader.readexactly(length)))
                answer = self.answers.pop(0) if self.answers else OK
                self.came.put_nowait(number)
                if answer == NEVER:
                    await reader.read()
                    break
                writer.write(answer.removesuffix(CLOSE))
                if answer.endswith(CLOSE):
                    break
        writer.close()
        self.ended.put_nowait(number)

    def used(self) -> list[int]:
        """The connection of each request."""
        return [number for number, _, _ in self.requests]


@asynccontextmanager
async def listening(server: Server, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Server]:
    listener = await asyncio.start_server(server, host, port)
    server.url = f"http://{host}:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()

"""A real browser for tests: Chromium without a window, driven through its DevTools protocol.

Whatever its console calls an error is kept, so that a test can ask that there was none.
"""

import asyncio
import base64
import json
import os
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.platform_process import wait_until_async

START_TIMEOUT_S = 60
CALL_TIMEOUT_S = 60
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The program; the test is skipped, and says so, where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is on PATH (apt install chromium)")
    return found


class Page:
    """One open page. `errors`: exceptions, error messages of the console, and of the browser itself."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []

    async def listen(self) -> None:
        """Take what the browser sends, until it has ended."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif error := _error_of(told["method"], told["params"]):
                self.errors.append(error)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; fails when the browser refuses it."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        told = await asyncio.wait_for(answer, CALL_TIMEOUT_S)
        assert "error" not in told, (method, told["error"])
        result: dict[str, Any] = told["result"]
        return result

    async def open(self, url: str) -> None:
        """Go there, and wait until all of it has loaded."""
        await self.call("Page.navigate", url=url)
        await self.wait_for(f"document.readyState === 'complete' && location.href !== 'about:blank' && {_at(url)}")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, (expression, told)
        return told["result"].get("value")

    async def wait_for(self, condition: str, timeout_s: float = 30) -> None:
        """Until a JavaScript expression is true."""

        async def is_true() -> bool:
            return bool(await self.evaluate(condition))

        await wait_until_async(is_true, timeout_s, condition)

    async def type_into(self, selector: str, text: str) -> None:
        """Replace what stands in a field, as somebody at a keyboard does."""
        field = f"document.querySelector({json.dumps(selector)})"
        await self.evaluate(f"{field}.focus(), {field}.select()")
        await self.call("Input.insertText", text=text)
        assert await self.evaluate(f"{field}.value") == text

    async def click(self, text: str) -> None:
        """The button that says so, once it is there."""
        button = f"[...document.querySelectorAll('button')].find(b => b.textContent.trim() === {json.dumps(text)})"
        await self.wait_for(f"!!({button}) && !({button}).disabled")
        await self.evaluate(f"({button}).click()")

    async def take_screenshot(self, file: Path) -> None:
        """Of the whole page, as far down as it goes."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}
        told = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(told["data"]))  # noqa: ASYNC240 - nothing else runs meanwhile


def _at(url: str) -> str:
    return f"location.href.startsWith({json.dumps(url.split('#')[0].rstrip('/'))})"


def _error_of(method: str, told: dict[str, Any]) -> str:
    if method == "Runtime.exceptionThrown":
        return str(told["exceptionDetails"])
    if method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
        return " ".join(str(part.get("value", part.get("description"))) for part in told["args"])
    if method == "Log.entryAdded" and told["entry"]["level"] == "error":
        return f"{told['entry']['text']} {told['entry'].get('url', '')}".strip()
    return ""


@asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Page]:
    """A browser with one empty page, its profile below `folder`. It reaches this machine, and nothing else is asked."""
    profile = folder / "chromium"
    command = [chromium(), "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    command += ["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync"]
    command += ["--no-first-run", "--no-proxy-server", "--window-size=1200,900"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # Chromium refuses to run as root with it
    process = await asyncio.create_subprocess_exec(*command, "about:blank", stdout=DEVNULL, stderr=DEVNULL)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(await _find_page(session, profile), max_msg_size=0) as socket,
        ):
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            yield page
            with suppress(AssertionError, TimeoutError, ConnectionError):
                await page.call("Browser.close")
            listening.cancel()
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 10)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _find_page(session: aiohttp.ClientSession, profile: Path) -> str:
    """The address of its page's DevTools socket, once the browser has written its port."""
    found: list[str] = []

    async def is_there() -> bool:
        with suppress(OSError, IndexError, ValueError, aiohttp.ClientError):
            port = int((profile / "DevToolsActivePort").read_text().split()[0])
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = await answer.json()
            found.extend(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        return bool(found)

    await wait_until_async(is_there, START_TIMEOUT_S, "the browser listens")
    return found[0]

"""What people look at, in a real browser: the report of a comparison, and the load test's web form.

TWINSERVE_SCREENSHOTS names a folder to keep the pictures in.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from loadtest.compare.figures import figures_of
from loadtest.compare.page import encode_page
from tests.browser import Page, chromium, open_browser
from tests.platform_process import wait_until_async
from tests.ports import free_port
from tests.served_platform import ServedPlatform
from tests.unit.loadtest.compare.swapped import make_swapped_timeline
from tests.unit.loadtest.compare.whole_result import make_whole_result
from tests.watched_process import WatchedProcess, watched

pytestmark = pytest.mark.engines

ROOT = Path(__file__).resolve().parents[2]
RATE = "20"


@pytest.fixture(autouse=True)
def _needs_a_browser() -> None:
    chromium()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go."""
    folder = Path(os.environ.get("TWINSERVE_SCREENSHOTS") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def test_the_report_draws_all_its_figures_without_an_error(tmp_path: Path, pictures: Path) -> None:
    result = replace(await make_whole_result(()), swaps=make_swapped_timeline())
    report = tmp_path / "compare.html"
    report.write_text(encode_page(result))
    async with open_browser(tmp_path) as page:
        await page.open(report.as_uri())
        await page.wait_for(
            "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.trace, .point'))"
            " && document.querySelector('.plot') !== null"
        )
        drawn = await page.evaluate(
            "Object.fromEntries([...document.querySelectorAll('.plot')].map(plot => [plot.id.slice(5), "
            "plot.querySelectorAll('.main-svg .trace, .main-svg .point').length]))"
        )
        await page.take_screenshot(pictures / "report.png")
        assert page.errors == []
    assert set(drawn) == set(figures_of(result))
    assert all(drawn.values()), drawn


@contextmanager
def locust_ui(platform: ServedPlatform) -> Iterator[tuple[str, WatchedProcess]]:
    """Locust's web form in front of a platform; gives its URL and the process behind it."""
    port = free_port()
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py")]
    command += ["--web-host", "127.0.0.1", "--web-port", str(port), "-H", platform.url]
    command += ["--grpc", platform.grpc_address, "--repository", str(platform.repository)]
    with watched(command, {**os.environ, "TWINSERVE_MNIST": ""}, ROOT) as running:
        yield f"http://127.0.0.1:{port}", running


@asynccontextmanager
async def statistics(url: str, running: WatchedProcess) -> AsyncIterator[Any]:
    """Reads what Locust itself says of a run."""
    async with aiohttp.ClientSession() as session:

        async def read() -> Any:
            async with session.get(f"{url}/stats/requests") as answer:
                return await answer.json()

        async def answers() -> bool:
            running.check_running()
            try:
                await read()
            except aiohttp.ClientError:
                return False
            return True

        await wait_until_async(answers, 60, "Locust's web UI answers")
        yield read


async def fill_in(page: Page) -> None:
    """The form's own fields, and the rate among ours, which are folded away."""
    await page.wait_for("!!document.querySelector('input[name=userCount]')")
    await page.evaluate(
        "[...document.querySelectorAll('button')].find(b => b.textContent.includes('Custom parameters')).click()"
    )
    await page.wait_for("!!document.querySelector('input[name=rate]')")
    await page.type_into("input[name=rate]", RATE)


async def test_a_scenario_is_started_and_stopped_from_locusts_page(
    platform: ServedPlatform, tmp_path: Path, pictures: Path
) -> None:
    with locust_ui(platform) as (url, running):
        async with statistics(url, running) as read, open_browser(tmp_path) as page:
            await page.open(url)
            await fill_in(page)
            await page.take_screenshot(pictures / "locust-form.png")
            assert (await read())["state"] == "ready"
            await page.click("Start")

            async def is_asking() -> bool:
                told = await read()
                return bool(told["state"] == "running" and told["stats"][-1]["num_requests"] > 20)

            await wait_until_async(is_asking, 60, "requests are counted")
            await page.wait_for("document.body.innerText.toUpperCase().includes('RUNNING')")
            await page.take_screenshot(pictures / "locust-running.png")
            await page.click("Stop")

            async def has_stopped() -> bool:
                told = await read()
                return bool(told["state"] == "stopped")

            await wait_until_async(has_stopped, 60, "the run has stopped")
            told = await read()
            await page.wait_for("document.body.innerText.toUpperCase().includes('STOPPED')")
            errors = page.errors
    assert told["fail_ratio"] == 0, told["errors"]
    assert told["stats"][-1]["num_requests"] > 20
    assert errors == []

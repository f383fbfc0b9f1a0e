"""What the README prints can be run as printed, and finds the seven."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.served_platform import ServedPlatform

pytestmark = pytest.mark.engines

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.split("\n")
]


def here(text: str, platform: ServedPlatform) -> str:
    """The text with this platform's ports in place of the defaults."""
    http, grpc = (address.rpartition(":")[2] for address in (platform.url, platform.grpc_address))
    return text.replace(":8000", f":{http}").replace(":8001", f":{grpc}")


def test_the_page_shows_every_client() -> None:
    shown = "\n".join(PROGRAMS)
    assert all(
        word in shown for word in ("twinserve.client", "tritonclient.http", "tritonclient.grpc", "tensorflow_serving")
    )
    assert sum("curl" in line for line in COMMANDS) == 3


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: re.findall(r"import (\S+)", program)[-1])
def test_a_program(platform: ServedPlatform, program: str) -> None:
    command = [sys.executable, "-c", here(program, platform)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("7")


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("curl")])
def test_a_command(platform: ServedPlatform, line: str) -> None:
    command = here(line, platform).replace("curl ", "curl --silent --fail-with-body ", 1)
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r'"logits"|"predictions": \[\[|{"7":0\.99', done.stdout), done.stdout

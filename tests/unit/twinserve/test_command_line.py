"""The commands against a gateway over fake engines: what they print, as text and as JSON, and when they fail."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from gateway.settings import Settings
from tests.platform_process import wait_until
from tests.ports import free_port
from tests.unit.gateway.listening import Listening, listening_gateway
from tests.unit.gateway.test_repository import publish
from twinserve.cli import app
from twinserve.client import GatewayClient
from twinserve.known_variables import known_variables
from twinserve.up_state import UpState, write_state

PICTURE = Path(__file__).resolve().parents[3] / "docs" / "digits" / "7.png"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("commands")
    publish(folder, 2)
    with listening_gateway(folder) as listening:
        yield listening


@pytest.fixture(autouse=True)
def here(gateway: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWINSERVE_URL", f"127.0.0.1:{gateway.port}")
    monkeypatch.setenv("TWINSERVE_ADMIN_TOKEN", "t")


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a server that speaks HTTP and JSON, and is no gateway."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"detail": "Not Found"}'
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_version() -> None:
    done = run("--version")
    assert (done.exit_code, done.stdout.startswith("twinserve ")) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("promote", "adder", "9"), 1, "unknown version 9"),
        (("promote", "adder", "latest"), 2, "'latest' is no version: expected a number such as 3, `twinserve status`"),
        (("promote", "adder", "0"), 2, "'0' is no version"),
        (("promote", "adder", "2", "--canary", "abc"), 2, "--canary abc: expected rising percentages"),
        (("promote", "adder", "2", "--canary", ""), 2, "--canary : expected rising percentages"),
        (("promote", "adder", "2", "--canary", "50%,10%"), 2, "--canary 50%,10%: expected rising percentages"),
        (("promote", "adder", "2", "--hold", "soon"), 2, "--hold soon: expected a duration"),
        (("promote", "nobody", "1"), 1, "unknown model 'nobody'"),
        (("rollback", "nobody"), 1, "unknown model 'nobody'"),
        (("route", "adder", "--mirror", "tfserving=200"), 2, "--mirror tfserving=200: expected percentages from 0"),
        (("route", "adder", "--weights", "onnx=1"), 1, "unknown engine 'onnx'"),
        (("predict", str(PICTURE), "--model", "adder"), 1, "the model takes no pictures"),
        (("predict", "missing.png"), 2, "does not exist"),
        (("publish", "adder"), 1, "has no published version"),
        (("publish", "mnist"), 1, "give --weights, or both --from-torchscript and --from-saved-model"),
        (("status", "--url", "ftp://here"), 1, "expected http://host:port"),
        (("status", "--nothing"), 2, "No such option"),
    ],
)
def test_failures_as_text_and_as_json(arguments: tuple[str, ...], code: int, said: str) -> None:
    told = run(*arguments)
    assert (told.exit_code, told.stdout) == (code, "")
    if "Usage" not in told.stderr:  # those come in a frame, broken into lines
        assert said in told.stderr
    told = run(*arguments, "--json")
    assert told.exit_code == code
    assert said in json.loads(told.stdout)["error"]


@pytest.mark.long
def test_a_training_that_fails_is_told_as_json(tmp_path: Path) -> None:
    told = run("train", "--out", str(tmp_path / "weights.json"), "--json")
    assert told.exit_code == 1
    assert "training failed with exit code 2" in json.loads(told.stdout)["error"]


@pytest.mark.parametrize(
    ("arguments", "calls", "said"),
    [
        (("train", "--out", "new.safetensors"), "subprocess.run", "interrupted; no weights were written"),
        (("publish", "mnist"), "twinserve.publish_command.publish_version", "interrupted; nothing was published"),
        (("predict", str(PICTURE)), "twinserve.client.GatewayClient.classify", None),
    ],
)
def test_ctrl_c_ends_every_command_with_130(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], calls: str, said: str | None
) -> None:
    def press_ctrl_c(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calls, press_ctrl_c)
    told = run(*arguments)
    assert (told.exit_code, told.stdout) == (130, "")
    assert told.stderr == (f"twinserve: {said}\n" if said else "")
    told = run(*arguments, "--json")
    assert told.exit_code == 130
    assert told.stdout == (json.dumps({"error": said}) + "\n" if said else "")


def test_a_start_that_fails_ends_with_a_line_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_HTTP_PORT", "none")
    told = run("up", "--json")
    assert told.exit_code == 1
    assert "TWINSERVE_HTTP_PORT" in json.loads(told.stdout.splitlines()[-1])["error"]


def test_a_start_warns_of_misspelt_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TWINSERVE_")]:
        monkeypatch.delenv(name)
    for name in ("HTTP_PORTS", "ENGINES_INN", "TORCHSERVE_MEMORY_LIMITS_MB", "WEATHER"):
        monkeypatch.setenv(f"TWINSERVE_{name}", "1")
    for name in ("TFSERVING_MEMORY_LIMIT_MB", "BATCH_ROWS", "PATIENCE_S", "GRAFANA_PORT"):
        monkeypatch.setenv(f"TWINSERVE_{name}", "1")
    monkeypatch.setenv("TWINSERVE_HTTP_PORT", "none")  # which ends it at once
    told = run("up")
    assert [line for line in told.stdout.splitlines() if line.startswith("TWINSERVE_")] == [
        "TWINSERVE_ENGINES_INN is set, but nothing reads it: is TWINSERVE_ENGINES_IN meant?",
        "TWINSERVE_HTTP_PORTS is set, but nothing reads it: is TWINSERVE_HTTP_PORT meant?",
        "TWINSERVE_TORCHSERVE_MEMORY_LIMITS_MB is set, but nothing reads it: "
        "is TWINSERVE_TORCHSERVE_MEMORY_LIMIT_MB meant?",
    ]
    assert told.exit_code == 1


def test_every_setting_of_the_gateway_is_known() -> None:
    assert {f"TWINSERVE_{name.upper()}" for name in Settings.model_fields} < known_variables()


def test_nobody_there_is_told_as_json() -> None:
    told = run("status", "--url", f"127.0.0.1:{free_port()}", "--json")
    document = json.loads(told.stdout)
    assert (told.exit_code, document["ready"], document["processes"]) == (1, False, [])
    assert "nothing answers at" in document["error"]


def test_the_gateway_of_an_up_with_a_port_of_its_own_is_found(
    gateway: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TWINSERVE_URL")
    monkeypatch.delenv("TWINSERVE_HTTP_PORT", raising=False)
    monkeypatch.setenv("TWINSERVE_HOME", str(tmp_path))
    write_state(tmp_path / "up.json", UpState(os.getpid(), f"http://127.0.0.1:{gateway.port}", "embedded", []))
    assert json.loads(run("status", "--json").stdout)["ready"] is True
    monkeypatch.setenv("TWINSERVE_HTTP_PORT", str(free_port()))
    assert "nothing answers at" in run("status").stderr, "what is said goes before it"


@pytest.mark.parametrize("path", ["", "/missing"])
def test_what_is_no_gateway_is_called_so(stranger: str, path: str) -> None:
    told = run("status", "--url", stranger + path)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "is no twinserve gateway: it answered" in told.stderr


def test_tokens_that_are_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for token, said in (("", "needs the operators' token"), ("wrong", "401: the operators' token is wrong")):
        monkeypatch.setenv("TWINSERVE_ADMIN_TOKEN", token)
        told = run("status")
        assert told.exit_code == 1
        assert said in told.stderr
        assert ".twinserve/admin-token of the folder where `twinserve up` runs" in told.stderr


def test_a_promote_and_a_rollback_as_json_with_progress_beside(gateway: Listening) -> None:
    done = run("promote", "adder", "2", "--json")
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (0, "done"), done.stderr
    assert "adder: loading it beside the live version" in done.stderr
    back = run("rollback", "adder", "--json")
    assert (back.exit_code, json.loads(back.stdout)["version"]) == (0, 1)


def test_a_wait_for_a_rollout_makes_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has TLS of its own to set up, 20 ms of a core, also where there is no TLS."""
    made: list[httpx2.Client] = []

    class Counted(httpx2.Client):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    asked: list[str] = []
    ask = GatewayClient.model_state

    def model_state(client: GatewayClient, model: str) -> dict[str, Any]:
        asked.append(model)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(client, model)

    with monkeypatch.context() as patched:
        patched.setattr("twinserve.rollout_commands._POLL_S", 0.01)
        patched.setattr("httpx2.Client", Counted)
        patched.setattr(GatewayClient, "model_state", model_state)
        assert run("promote", "adder", "2", "--canary", "10%", "--min-samples", "30").exit_code == 130
    assert (len(asked), len(made)) == (3, 1)
    assert made[0].is_closed
    assert "was withdrawn before it went live" in run("rollback", "adder").stdout


def test_a_refusal_speaks_of_the_command_lines_own_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, 2)
    with listening_gateway(tmp_path) as own:
        monkeypatch.setenv("TWINSERVE_URL", f"127.0.0.1:{own.port}")
        own.lose("tfserving")
        wait_until(lambda: "NO" in run("status").stdout.split(), 30, "the gateway misses tfserving")
        told = run("promote", "adder", "2")
    assert told.exit_code == 1
    assert "503: tfserving cannot load it now" in told.stderr
    assert "by naming it with `--engines`)" in told.stderr


def test_a_canary_without_traffic_says_what_it_lacks_and_can_be_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def press_ctrl_c(message: str = "", err: bool = False, **_: Any) -> None:
        told.append(message)
        if "requests so far" in message:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("twinserve.rollout_commands._STEP_NEWS_S", 0.01)
        patched.setattr("typer.echo", press_ctrl_c)
        assert run("promote", "adder", "2", "--canary", "10%", "--min-samples", "30").exit_code == 130
    assert "adder: canary 10%: 0 requests so far, needs 30" in told
    assert "twinserve: not waiting any longer; `twinserve rollback adder` withdraws it" in told
    assert "was withdrawn before it went live" in run("rollback", "adder").stdout


def test_routing_is_shown_in_percent() -> None:
    assert run("route", "adder", "--weights", "torchserve=3,tfserving=1").stdout.splitlines() == [
        "routing: torchserve 75%, tfserving 25%",
        "mirror:  off",
    ]
    assert run("route", "adder", "--mirror", "tfserving=2.5%").stdout.splitlines() == [
        "routing: torchserve 75%, tfserving 25%",
        "mirror:  tfserving 2.5%",
    ]
    shown = json.loads(run("route", "adder", "--json").stdout)
    assert shown == {"model": "adder", "routing": {"torchserve": 3, "tfserving": 1}, "mirror": {"tfserving": 0.025}}
    assert "routing: torchserve 75%, tfserving 25%; mirrored to tfserving 2.5%" in run("status").stdout

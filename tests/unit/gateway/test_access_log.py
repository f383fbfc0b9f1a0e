"""The access log: one line a request whichever way it came, in a file that others write and rotate."""

import errno
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.accounts.log_file import LogFile
from gateway.settings import Settings
from tests.unit.gateway.accounted import Accounted, accounted, infer_body
from tests.unit.gateway.rpc import INFER, PREDICT, infer_request, predict_request

STAGES = {"decode", "queue", "upstream", "encode", "total"}
CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The lines by their requests' ids."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["request_id"] for line in lines}) == len(lines), "one line a request"
    return {line["request_id"]: line for line in lines}


async def ask_in_every_way(gateway: Accounted) -> None:
    one, two = infer_body((1, 2)), infer_body((1, 2), (3, 4))
    assert await gateway.send(two, x_request_id="short", x_engine="tfserving", traceparent=CLIENT) == 200
    assert await gateway.post(one, x_request_id="long") == 200
    rows = b'{"instances": [[1, 2], [3, 4], [5, 6]]}'
    assert await gateway.post(rows, "/v1/models/adder/versions/1:predict", x_request_id="rest") == 200
    assert (await gateway.call(infer_request(rows=2), x_request_id="rpc")).name == "OK"
    assert (await gateway.call(predict_request(), PREDICT, x_request_id="predict")).name == "OK"


async def fail_in_every_way(gateway: Accounted) -> None:
    assert await gateway.send(b"no JSON", x_request_id="bad") == 400
    assert await gateway.send(infer_body((1, 2)), "/v2/models/nobody/infer", x_request_id="nobody") == 404
    assert await gateway.send(infer_body((1, 2)), "/v2/models/adder/versions/x/infer", x_request_id="x") == 404
    assert await gateway.send(infer_body((13, 2)), x_request_id="refused", x_engine="torchserve") == 400
    assert await gateway.post(infer_body((1, 2, 3)), x_request_id="shape") == 400  # type: ignore[arg-type]
    assert (await gateway.call(infer_request(model_name="nobody"), x_request_id="rpc-nobody")).name == "NOT_FOUND"
    cut = predict_request()
    cut.ClearField("inputs")
    assert (await gateway.call(cut, PREDICT, x_request_id="rpc-bad")).name == "INVALID_ARGUMENT"


async def test_an_answer_has_a_line_whichever_way_it_came(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with accounted(tmp_path / "repository", access_log=str(path)) as gateway:
        await ask_in_every_way(gateway)
    lines = read(path)
    assert set(lines) == {"short", "long", "rest", "rpc", "predict"}
    for line in lines.values():
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert (line["model"], line["outcome"], set(line["ms"])) == ("adder", "ok", STAGES)
        assert line["engine"] in ("torchserve", "tfserving")
        assert 0 < line["ms"]["total"] < 10_000
        assert "error" not in line
    said = {name: (line["protocol"], line["version"], line["rows"], line["status"]) for name, line in lines.items()}
    assert said == {
        "short": ("oip_http", 2, 2, 200),
        "long": ("oip_http", 2, 1, 200),
        "rest": ("tfserving_rest", 1, 3, 200),
        "rpc": ("oip_grpc", 2, 2, "OK"),
        "predict": ("tfserving_grpc", 2, 1, "OK"),
    }
    assert (lines["short"]["method"], lines["short"]["path"]) == ("POST", "/v2/models/adder/infer")
    assert lines["short"]["engine"] == "tfserving"
    assert (lines["rpc"]["rpc"], lines["predict"]["rpc"]) == (INFER[1:], PREDICT[1:])
    assert {name for name, line in lines.items() if "trace_id" in line} == {"short"}
    assert lines["short"]["trace_id"] == CLIENT.split("-")[1], "the client's, with tracing off"


async def test_failures_are_told_whatever_the_share_of_answers(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with accounted(tmp_path / "repository", access_log=str(path), access_log_sample=0) as gateway:
        await ask_in_every_way(gateway)
        await fail_in_every_way(gateway)
    lines = read(path)
    assert {name: (line["status"], line["outcome"]) for name, line in lines.items()} == {
        "bad": (400, "invalid"),
        "nobody": (404, "not_found"),
        "x": (404, "not_found"),
        "refused": (400, "engine_error"),
        "shape": (400, "invalid"),
        "rpc-nobody": ("NOT_FOUND", "not_found"),
        "rpc-bad": ("INVALID_ARGUMENT", "invalid"),
    }
    assert "no thirteens" in lines["refused"]["error"]
    assert (lines["refused"]["engine"], lines["refused"]["version"], lines["refused"]["rows"]) == ("torchserve", 2, 1)
    assert "model" not in lines["nobody"], "a name that a client made up is in the path alone"
    assert set(lines["bad"]["ms"]) == {"total"}
    assert "rows" not in lines["bad"]


async def test_what_a_client_wrote_spoils_no_line_and_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with accounted(tmp_path / "repository", access_log=str(path)) as gateway:
        predict = "/v1/models/adder/versions/1:predict"
        no_text = b'{"signature_name": "\xff", "instances": [[1, 2]]}'
        assert await gateway.post(no_text, predict, x_request_id="bytes") == 400
        long = b'{"signature_name": "%b", "instances": [[1, 2]]}' % (b"x" * 3_000)
        assert await gateway.post(long, predict, x_request_id="long") == 400
        assert await gateway.post(infer_body((1, 2)), "/v2/models/" + "y" * 9000, x_request_id="path") in (404, 405)
        assert await gateway.post(infer_body((1, 2)), x_request_id="beside") == 200
    lines = read(path)
    assert {"bytes", "long", "beside"} <= set(lines), "those beside it are told"
    assert max(map(len, path.read_text().splitlines())) < 2000


async def test_who_leaves_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with accounted(tmp_path / "repository", access_log=str(path)) as gateway:
        head = gateway.app.express.find(b"POST", b"/v2/models/adder/infer", [(b"x-request-id", b"left")])
        assert head is None, "without a length it is for FastAPI"
        body = infer_body((1, 2))
        lines = [(b"x-request-id", b"left"), (b"content-length", str(len(body)).encode())]
        head = gateway.app.express.find(b"POST", b"/v2/models/adder/infer", lines)
        assert head is not None
        trip = gateway.app.express.begin(head, body, lambda *_: None)
        trip.cancel()
        trip.cancel()
    assert {name: (line["status"], line["outcome"]) for name, line in read(path).items()} == {
        "left": (499, "cancelled")
    }


def test_lines_of_several_processes_share_a_file(tmp_path: Path) -> None:
    files = [LogFile(str(tmp_path / "log")) for _ in range(2)]
    for number in range(10):
        files[number % 2].append([b"%d\n" % number])
    for file in files:
        file.close()
    assert (tmp_path / "log").read_text().split() == [str(number) for number in range(10)]


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_file_that_was_rotated_away_is_opened_anew(tmp_path: Path, is_replaced: bool) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path))
    file.append([b"before\n"])
    path.rename(tmp_path / "log.1")
    if is_replaced:
        path.touch()
    file.append([b"after\n"])
    file.close()
    assert ((tmp_path / "log.1").read_text(), path.read_text()) == ("before\n", "after\n")


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LogFile(str(tmp_path / "log"))
    write = os.write
    calls: list[int] = []

    def fill_up(number: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "no space left")
        return write(number, data[:3])

    monkeypatch.setattr(os, "write", fill_up)
    with pytest.raises(OSError, match="no space left"):
        file.append([b"first\n"])
    monkeypatch.setattr(os, "write", write)
    file.append([b"second\n"])
    file.close()
    assert (tmp_path / "log").read_text() == "fir\nsecond\n"


def test_a_line_that_a_killed_process_left_without_an_end_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"whole\nhal")
    LogFile(str(path)).append([b"first\n"])
    assert path.read_bytes() == b"whole\nhal\nfirst\n"
    LogFile(str(path)).append([b"second\n"])
    assert path.read_bytes().endswith(b"first\nsecond\n"), "a whole line is ended once"


def test_a_pipe_is_given_no_more_than_it_takes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    def write(_: int, data: memoryview) -> int:
        written.append(bytes(data))
        return len(data)

    monkeypatch.setattr(os, "write", write)
    lines = [b"%0200d\n" % number for number in range(100)]
    LogFile("-").append(lines)
    assert b"".join(written) == b"".join(lines)
    assert max(map(len, written)) <= 4096
    assert all(piece.endswith(b"\n") for piece in written)


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.flush()
    file = LogFile("-")
    file.append([b"a line\n"])
    file.close()
    print("still open")
    assert capfd.readouterr().out == "a line\nstill open\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_log": "/no/such/folder/log"},
        {"access_log_sample": 1.5},
        {"otlp_endpoint": "collector:4318"},
        {"otlp_endpoint": "grpc://collector:4317"},
        {"trace_sample": -0.1},
    ],
)
def test_what_cannot_be_set(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)

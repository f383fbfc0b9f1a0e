"""What wrk prints by our script."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtest.bench.http_answers import encode_post
from loadtest.bench.wrk import SCRIPT, BadOutput, parse_wrk, wrk_command


class Answering(BaseHTTPRequestHandler):
    """Answers with the status that the path names, when the body came as it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(int(self.path[1:]) if body == b"\0\n\0" else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nothing."""


@contextmanager
def serving() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


OUTPUT = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 64 connections
Requests/sec:   1521.32
BENCH {"requests":1530,"duration_us":1005700,"status":2,"connect":0,"read":3,"write":0,"timeout":1,"p50_us":42000,\
"p90_us":60500,"p99_us":80100,"p999_us":91000}
"""


def test_counts_and_times_are_read() -> None:
    report = parse_wrk(OUTPUT)
    assert report.answered == 1528
    assert report.errors == 6
    assert report.seconds == pytest.approx(1.0057)
    assert (report.latency.p50_ms, report.latency.p999_ms) == (42.0, 91.0)


@pytest.mark.parametrize("output", ["", "unable to connect", "BENCH {}", "BENCH nothing", OUTPUT + OUTPUT])
def test_anything_else_is_refused(output: str) -> None:
    with pytest.raises(BadOutput):
        parse_wrk(output)


def test_the_command_names_script_and_requests() -> None:
    command = wrk_command("wrk", "http://127.0.0.1:1/x", 64, 2, [Path("a"), Path("b")])
    assert command[-4:] == ["http://127.0.0.1:1/x", "--", "a", "b"]
    assert {"-c64", "-d2s", str(SCRIPT)} <= set(command)
    assert SCRIPT.is_file()


@pytest.mark.long
def test_wrk_itself_runs_the_script(tmp_path: Path) -> None:
    program = shutil.which("wrk")
    if program is None:
        pytest.skip("wrk is not installed")
    with serving() as port:
        files = [tmp_path / status for status in ("200", "503")]
        for file in files:
            file.write_bytes(encode_post(f"/{file.name}", "x", {}, b"\0\n\0"))
        command = wrk_command(program, f"http://127.0.0.1:{port}/", 1, 1, files)
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    report = parse_wrk(done.stdout)
    assert report.answered > 0
    assert report.status == pytest.approx(report.answered, abs=1)  # the two requests take turns
    assert report.errors == report.status

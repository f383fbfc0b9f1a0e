"""Workers by fork: they live, end and die with whoever asked for them. Real processes, without torch."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from workers.torch import fork_client, fork_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

DEADLINE_S = 20


@dataclass
class Stand:
    """One fork server with `colorsys` imported, and the folder of its socket."""

    folder: Path
    server: "subprocess.Popen[bytes]"

    def start(self, script: str, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """A client that runs `script` as TorchServe would its worker's; `.stdout` is a pipe."""
        path = self.folder / fork_client.WORKER_SCRIPT
        path.write_text(script, "utf-8")
        client = [sys.executable, "-I", "-S", fork_client.__file__, str(self.folder / "fork.sock"), str(path)]
        return subprocess.Popen(
            [*client, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=os.environ | environment,
        )

    def run(self, script: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a script that ends by itself."""
        with self.start(script, *arguments, **environment) as client:
            out, err = client.communicate(timeout=DEADLINE_S)
        return client.returncode, out.decode(), err.decode()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "fork.sock"))
        listener.listen()
        command = [sys.executable, "-P", fork_server.__file__, str(listener.fileno()), "colorsys"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
    with server:
        yield Stand(tmp_path, server)
        server.kill()


WAITING = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"


def waiting_worker(client: "subprocess.Popen[bytes]") -> psutil.Process:
    assert client.stdout is not None
    return psutil.Process(int(client.stdout.readline()))


def end(client: "subprocess.Popen[bytes]") -> int:
    client.communicate(timeout=DEADLINE_S)
    return client.returncode


def test_a_worker_is_run_as_a_fresh_python_would_run_it(stand: Stand) -> None:
    (stand.folder / "lib").mkdir()
    (stand.folder / "lib" / "given_by_path.py").write_text("WORD = 'found'")
    script = (
        "import os, sys, given_by_path\n"
        "print(__name__, sys.argv[1:], os.getcwd(), os.environ['COLOUR'])\n"
        "print(given_by_path.WORD, 'colorsys' in sys.modules)\n"
        "sys.stderr.write('a complaint')\n"
        "sys.exit(7)\n"
    )
    status, out, err = stand.run(script, "--name", "a b", COLOUR="blue", PYTHONPATH=str(stand.folder / "lib"))
    assert out == f"__main__ ['--name', 'a b'] {stand.folder} blue\nfound True\n"
    assert (status, err) == (7, "a complaint")


def test_a_worker_that_fails_says_why_and_the_next_one_is_untouched(stand: Stand) -> None:
    status, _, err = stand.run("import os; os.environ['LEFT'] = 'behind'; raise ValueError('no such model')")
    assert status == 1
    assert "ValueError: no such model" in err
    assert stand.run("import os; print(os.environ.get('LEFT'))") == (0, "None\n", "")


def test_workers_draw_different_numbers(stand: Stand) -> None:
    script = "import random; print(random.random())"
    assert stand.run(script)[1] != stand.run(script)[1]


def test_a_killed_client_takes_its_worker_along_and_no_other(stand: Stand) -> None:
    with stand.start(WAITING) as doomed, stand.start(WAITING) as other:
        worker, bystander = waiting_worker(doomed), waiting_worker(other)
        doomed.kill()
        worker.wait(DEADLINE_S)
        assert bystander.is_running()
        assert bystander.status() != psutil.STATUS_ZOMBIE
        assert end(other) == 0


def test_a_killed_worker_ends_its_client_with_the_signal_in_its_status(stand: Stand) -> None:
    with stand.start(WAITING) as client:
        os.kill(waiting_worker(client).pid, signal.SIGKILL)
        assert end(client) == 128 + signal.SIGKILL


@pytest.mark.long
def test_everything_ends_when_torchserve_has_ended(stand: Stand) -> None:
    with stand.start(WAITING) as client:
        worker = waiting_worker(client)
        assert stand.server.stdin is not None
        stand.server.stdin.close()
        worker.wait(DEADLINE_S)
        assert stand.server.wait(DEADLINE_S) == 0
        assert end(client) != 0


@pytest.mark.long
def test_workers_die_with_a_killed_fork_server_and_the_next_one_does_without(stand: Stand) -> None:
    with stand.start(WAITING) as client:
        worker = waiting_worker(client)
        stand.server.kill()
        worker.wait(DEADLINE_S)
        assert end(client) == 1
    stand.server.wait(DEADLINE_S)
    status, out, err = stand.run("import sys; print('colorsys' in sys.modules)")
    assert (status, out) == (0, "False\n")
    assert "there is no fork server" in err


def test_a_stranger_on_the_socket_disturbs_nobody(stand: Stand) -> None:
    for nonsense in (b"", b"not json\n", b"{}\n"):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(stand.folder / "fork.sock"))
            stranger.sendall(nonsense)
    assert stand.run("print('here')") == (0, "here\n", "")

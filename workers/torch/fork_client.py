"""What TorchServe starts as its Python: asks the fork server for a worker and stands in for it until it ends.

Without a fork server (none was started, or it has died) this process becomes an ordinary Python with the same
arguments: the worker then starts more slowly, and nothing else changes. Run by path, as
`python -I -S fork_client.py SOCKET ARGUMENT…`; it imports little, because it is started for every worker.
"""

import json
import os
import socket
import sys

WORKER_SCRIPT = "model_service_worker.py"


def run_worker(path: str, arguments: list[str]) -> int | None:
    """The exit status of a worker that the fork server started; None when there is no fork server to do so."""
    # pathlib would double what this process takes to start.
    order = {
        "arguments": arguments,
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
    }
    message = json.dumps(order).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            sent = socket.send_fds(connection, [message], [0, 1, 2])
            connection.sendall(message[sent:])
        except OSError:
            return None
        answer = b""
        try:
            while not answer.endswith(b"\n"):
                more = connection.recv(64)
                if not more:
                    return 1  # the fork server has died, and its workers with it
                answer += more
        except OSError:
            return 1
    status = int(answer)
    return status if status >= 0 else 128 - status


def main() -> int:
    """Run the command line; returns the worker's exit status, 128 and the number of the signal that ended it."""
    path, *arguments = sys.argv[1:]
    if arguments and arguments[0].endswith(f"/{WORKER_SCRIPT}"):
        status = run_worker(path, arguments)
        if status is not None:
            return status
        sys.stderr.write("there is no fork server: this worker imports torch by itself\n")
    return os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 (no shell is meant)


if __name__ == "__main__":
    sys.exit(main())

"""What the bench started dies with it, even when it is killed with -9.

The process that watches is the platform's own, `python -m twinserve.lifeline`: it holds the other end of a pipe and is
told which process groups are ours ("+1234", "-1234"); when the pipe ends without the word "done" it kills them.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from loadtest.bench.children import NotStarted, module_command

_READY = b"ready\n"


class Lifeline:
    """A context manager; leaving it ends the watching process, which kills what is still held then."""

    def __init__(self) -> None:
        self._held: set[int] = set()

    def __enter__(self) -> "Lifeline":
        """Raises NotStarted, OSError."""
        # A session of its own: neither Ctrl-C nor the end of a terminal is meant for it.
        self._process = subprocess.Popen(
            module_command("twinserve.lifeline"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        if self._process.stdout is None or self._process.stdout.readline() != _READY:
            raise NotStarted("the process that watches over the bench did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._held:
            self._tell("done")
        self._process.communicate()

    @contextmanager
    def holding(self, group: int) -> Iterator[None]:
        """While inside, a process group is killed when this process dies."""
        self.hold(group)
        try:
            yield
        finally:
            self.release(group)

    def hold(self, group: int) -> None:
        """Kill this process group when this process dies."""
        self._held.add(group)
        self._tell(f"+{group}")

    def release(self, group: int) -> None:
        """It has ended; its number may soon be somebody else's."""
        self._held.discard(group)
        self._tell(f"-{group}")

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # somebody killed it; then only an end in peace is left to us
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()

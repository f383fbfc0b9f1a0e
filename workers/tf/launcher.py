"""Becomes the model server of the TF side: the official binary, or the embedded one.

`python -m workers.tf.launcher --run-dir DIR --implementation embedded|tensorflow_model_server`

The server starts with an empty model list; what it serves it is told over HandleReloadConfigRequest. This process
replaces itself (exec), so whoever started it holds the server's own pid, signals and exit code. It never imports
tensorflow.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from contracts.addresses import LOOPBACK, Ports, engine_address
from contracts.atomic import write_atomic
from contracts.tfserving_command import EMPTY_CONFIG, MONITORING_CONFIG, OFFICIAL_SERVER, server_flags

EMBEDDED = "embedded"
OFFICIAL = OFFICIAL_SERVER

CONFIG_NAME = "tfserving-models.config"
MONITORING_NAME = "tfserving-monitoring.config"


def command(implementation: str, ports: Ports, config: Path, address: str = LOOPBACK) -> list[str]:
    """The argument list of a server on `ports` that starts from the text proto `config`.

    That it is to tell its counters stands in MONITORING_NAME beside it. The official
    one cannot be told an `address`, it listens on all.
    """
    program = [OFFICIAL] if implementation == OFFICIAL else [sys.executable, "-m", "workers.tf.embedded"]
    listening = [f"--bind_address={address}"] if implementation == EMBEDDED and address != LOOPBACK else []
    return [*program, *server_flags(ports, config, config.with_name(MONITORING_NAME)), *listening]


def launch(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Write the configurations and become the server; returns never.

    Raises ValueError when the environment names a port or an address that is none, OSError when the run directory
    cannot be written or the program does not exist, SystemExit when the arguments are not understood.
    """
    given = _parser().parse_args(arguments)
    ports = Ports.from_environment(environment)
    given.run_dir.mkdir(parents=True, exist_ok=True)
    config = given.run_dir.resolve() / CONFIG_NAME
    write_atomic(config, f"{EMPTY_CONFIG}\n".encode())
    write_atomic(config.with_name(MONITORING_NAME), f"{MONITORING_CONFIG}\n".encode())
    program = command(given.implementation, ports, config, engine_address(environment))
    own = {name: value for name, value in environment.items() if name != "TWINSERVE_ADMIN_TOKEN"}  # not its business
    try:
        os.execvpe(program[0], program, own)  # noqa: S606 - no shell: an argument list of our own making
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{program[0]} is not on PATH") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.tf.launcher", description="Start the TF engine.")
    parser.add_argument("--run-dir", type=Path, required=True, help="where the server's configuration is written")
    parser.add_argument("--implementation", choices=[EMBEDDED, OFFICIAL], required=True)
    return parser


def main() -> int:
    """The command. Returns an exit code only when the server could not be started."""
    try:
        launch(sys.argv[1:], os.environ)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"workers.tf.launcher: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""Start TorchServe in the foreground: `python -m workers.torch.launcher --run-dir DIR --model-store DIR`.

This process becomes the Java virtual machine, so whoever started it holds TorchServe's own process id. The package's
own `torchserve` command is not used: it detaches, and it knows no Java but the one on the machine.

Everything that TorchServe writes lies in the run directory: config.properties, key_file.json (its tokens, mode 0600),
logs, and `tmp` with the unpacked archives and the sockets of its Python workers.
"""

import argparse
import importlib.util
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from contracts.addresses import LOOPBACK, Ports, engine_address, variable
from workers.torch.host_folder import host_folder
from workers.torch.java import Java, NoJava, find_java

TOKEN_LIFETIME_MIN = 10 * 365 * 24 * 60
"""The gateway reads the tokens once; the default of an hour would lock it out while it runs."""

MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024
QUEUE_LIMIT_REQUESTS = 1000
"""Far beyond what the gateway keeps in flight: its own queue is the one that refuses."""

EVENT_LOOPS = 16
"""Many, so that few connections share one; an idle thread costs nothing."""

FOLDER_PER_HOST_VARIABLE = "TWINSERVE_TORCHSERVE_FOLDER_PER_HOST"

SOCKET_PATH_LIMIT_BYTES = 100
_LONGEST_SOCKET_NAME = ".ts.sock.65535"

# Glibc otherwise returns a batch's memory to the system after every forward pass and asks for it again for the next.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}

# All that a worker imports before it opens its archive.
IMPORTED_BEFORE_FORKING = ("torch", "safetensors.numpy", "safetensors.torch", "ts.model_service_worker")


class CannotLaunch(Exception):
    """TorchServe cannot be started here; the message says what is missing."""


def config_properties(ports: Ports, model_store: Path, workflow_store: Path, address: str = LOOPBACK) -> str:
    """TorchServe's configuration: one address only, tokens on, and nothing fetched from elsewhere."""
    settings = {
        "inference_address": f"http://{address}:{ports.torchserve_inference}",
        "management_address": f"http://{address}:{ports.torchserve_management}",
        "metrics_address": f"http://{address}:{ports.torchserve_metrics}",
        "grpc_inference_address": address,
        "grpc_inference_port": ports.torchserve_grpc_inference,
        "grpc_management_address": address,
        "grpc_management_port": ports.torchserve_grpc_management,
        "enable_model_api": "true",
        "disable_token_authorization": "false",
        "token_expiration_min": TOKEN_LIFETIME_MIN,
        "allowed_urls": "file:///nonexistent/.*",
        "install_py_dep_per_model": "false",
        "model_store": model_store,
        # Workflows can be registered whatever enable_model_api says, so there are none to register.
        "workflow_store": workflow_store,
        "default_workers_per_model": 1,
        "job_queue_size": QUEUE_LIMIT_REQUESTS,
        "max_request_size": MESSAGE_LIMIT_BYTES,
        "max_response_size": MESSAGE_LIMIT_BYTES,
        # Registering an archive unpacks it on one of these threads, and the connections of that thread wait for it.
        "number_of_netty_threads": EVENT_LOOPS,
        "metrics_mode": "prometheus",
        "disable_system_metrics": "true",
    }
    # Java reads a backslash as the start of an escape.
    return "".join(f"{name}={value}\n".replace("\\", "\\\\") for name, value in settings.items())


def worker_folder(run_dir: Path) -> Path:
    """An empty private folder for archives and sockets: `tmp` in the run directory.

    Where that path is too long for a Unix socket, `tmp` is a link to a short folder made for it.
    """
    folder = run_dir / "tmp"
    # What is left of an earlier run: a killed TorchServe cleans up nothing.
    if folder.is_symlink():
        shutil.rmtree(folder.resolve(), ignore_errors=True)
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    if len(os.fsencode(folder / _LONGEST_SOCKET_NAME)) < SOCKET_PATH_LIMIT_BYTES:
        folder.mkdir(mode=0o700)
        return folder
    short = Path(tempfile.mkdtemp(prefix="twinserve-"))
    folder.symlink_to(short)
    sys.stderr.write(f"{run_dir} is too long for socket paths: TorchServe's temporary files lie in {short}\n")
    return short


def usable_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The processors this process may run on, or fewer where a container's quota says so (Linux cgroup v2, cpu.max)."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text("ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores


def threads(cores: int) -> dict[str, str]:
    """How many threads one forward pass takes, unless OMP_NUM_THREADS is set already: a quarter of the cores.

    The engines and the gateway share the cores, and two versions are loaded while they change places. Threads of one
    pass wait for each other by spinning: with two on two busy cores an answer took ten times as long as with one.
    """
    return {"OMP_NUM_THREADS": str(max(1, cores // 4))}


def jvm_environment(environment: Mapping[str, str], run_dir: Path, temporary: Path) -> dict[str, str]:
    """What TorchServe and, from it, its Python workers inherit."""
    # TS_* variables would override config.properties, and no engine has use for the operators' token.
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("TS_") and name != "TWINSERVE_ADMIN_TOKEN"
    }
    places = {
        "TEMP": str(temporary),
        "TMPDIR": str(temporary),
        "LOG_LOCATION": str(run_dir / "logs"),
        "METRICS_LOCATION": str(run_dir / "logs"),
    }
    return threads(usable_cores()) | kept | ALLOCATOR | places


def path_with_kill(path: str, run_dir: Path) -> str:
    """A PATH that has a `kill`: TorchServe runs one to end a worker, and cannot unload a version where there is none.

    In small images it is a word of the shell only. Raises OSError.
    """
    if shutil.which("kill", path=path):
        return path
    program = run_dir / "bin" / "kill"
    program.parent.mkdir(exist_ok=True)
    program.write_text('#!/bin/sh\nkill "$@"\n', "utf-8")
    program.chmod(0o700)
    return f"{path}{os.pathsep}{program.parent}"


# The frontend gets one request for a whole batch. Its code would be compiled well after thousands of them, minutes of
# light load, and until then each costs twice as much; compiled quickly it is as fast for what it does.
JVM_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def jvm_command(java: Java, python: Path, run_dir: Path, model_store: Path, temporary: Path) -> list[str]:
    """The command that the package's own launcher would build, without snapshots. Raises CannotLaunch."""
    package = importlib.util.find_spec("ts")
    if package is None or package.origin is None:
        raise CannotLaunch("the torchserve package is not installed (`pip install torchserve`)")
    home = Path(package.origin).parents[1]
    return [
        str(java.program),
        *JVM_OPTIONS,
        f"-Dmodel_server_home={home}",
        f"-Dlog4j.configurationFile={Path(__file__).with_name('log4j2.xml').as_uri()}",
        f"-Djava.io.tmpdir={temporary}",
        "-cp",
        str(home / "ts" / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        str(python),
        "-f",
        str(run_dir / "config.properties"),
        "-s",
        str(model_store),
        "-ncs",
    ]


def require_free(ports: Ports, address: str = LOOPBACK) -> None:
    """Raises CannotLaunch naming a port of TorchServe's that is taken; Java would only log a stack trace."""
    names = ("inference", "management", "metrics", "grpc_inference", "grpc_management")
    for name in (f"torchserve_{name}" for name in names):
        port = getattr(ports, name)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise CannotLaunch(f"port {port} ({variable(name)}) cannot be had: {error.strerror}") from error


def start_fork_server(run_dir: Path, temporary: Path) -> Path:
    """Start the process that forks workers; returns the Python to give to TorchServe.

    It ends when this process, which becomes TorchServe, has ended. On systems other than Linux, and where nothing in
    the run directory may be executed, TorchServe gets the ordinary Python instead.
    """
    path, python = temporary / "fork.sock", run_dir / "python"
    client, server = (Path(__file__).with_name(f"fork_{side}.py") for side in ("client", "server"))
    words = (sys.executable, "-I", "-S", str(client), str(path))
    python.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', "utf-8")
    python.chmod(0o700)
    if sys.platform != "linux" or not os.access(python, os.X_OK):
        sys.stderr.write(f"{python} cannot be executed: every worker imports torch by itself, which takes seconds\n")
        return Path(sys.executable)
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)  # it ends with TorchServe, however that dies
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        command = [sys.executable, "-P", str(server), str(listener.fileno()), *IMPORTED_BEFORE_FORKING]
        environment = jvm_environment(os.environ, run_dir, temporary)
        subprocess.Popen(command, stdin=read_end, pass_fds=[listener.fileno()], cwd=temporary, env=environment)
    os.close(read_end)
    return python


def launch(run_dir: Path, model_store: Path) -> None:
    """Become TorchServe. Returns never; raises CannotLaunch, NoJava, ValueError (a bad port or address) or OSError."""
    if not model_store.is_dir():
        raise CannotLaunch(f"the model store {model_store} is not a directory")
    ports = Ports.from_environment(os.environ)
    address = engine_address(os.environ)
    java = find_java(os.environ)
    require_free(ports, address)
    run_dir.mkdir(parents=True, exist_ok=True)
    workflow_store = run_dir / "workflows"
    workflow_store.mkdir(mode=0o500, exist_ok=True)
    (run_dir / "key_file.json").unlink(missing_ok=True)  # a reader must never find the tokens of an earlier run
    configuration = config_properties(ports, model_store, workflow_store, address)
    (run_dir / "config.properties").write_text(configuration, "utf-8")
    temporary = worker_folder(run_dir)
    command = jvm_command(java, start_fork_server(run_dir, temporary), run_dir, model_store, temporary)
    sys.stderr.write(f"Java {java.version} from {java.origin}: {java.program}\n")
    sys.stderr.flush()
    os.chdir(run_dir)  # TorchServe writes key_file.json into its working directory
    environment = {**os.environ, "PATH": path_with_kill(os.environ.get("PATH", os.defpath), run_dir)}
    os.execve(java.program, command, jvm_environment(environment, run_dir, temporary))  # noqa: S606 (no shell is meant)


def main() -> int:
    """Run the command line; returns only when TorchServe could not be started."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.torch.launcher",
        description="Start TorchServe in the foreground. Ports come from TWINSERVE_TORCHSERVE_*_PORT, the address "
        "from TWINSERVE_ENGINE_ADDRESS.",
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="where everything it writes goes; made if missing")
    parser.add_argument("--model-store", type=Path, required=True, help="directory of archives; read only")
    parser.add_argument(
        "--folder-per-host",
        action="store_true",
        default=bool(os.environ.get(FOLDER_PER_HOST_VARIABLE)),
        help="run in a folder of the run directory that is named for this host, so that several containers can share "
        f"one volume; also by {FOLDER_PER_HOST_VARIABLE}=yes",
    )
    arguments = parser.parse_args()
    try:
        run_dir = arguments.run_dir.resolve()
        if arguments.folder_per_host:
            run_dir, held = host_folder(run_dir)
            os.set_inheritable(held.fileno(), True)  # until TorchServe, which this becomes, has ended
        launch(run_dir, arguments.model_store.resolve())
    except (CannotLaunch, NoJava, ValueError, OSError) as error:
        sys.stderr.write(f"TorchServe cannot be started: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

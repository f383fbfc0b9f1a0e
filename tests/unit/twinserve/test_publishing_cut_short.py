"""Publishing that is cut short: a full disk, an exporter that hangs, Ctrl-C, kill -9. Nothing half-made counts."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from contracts import atomic
from contracts.layout import ModelPaths
from tests.platform_process import wait_until
from tests.unit.twinserve.stand_ins import Publish, names_in, use
from twinserve import staging
from twinserve.description import shipped_model
from twinserve.places import SHIPPED_MODEL as SHIPPED
from twinserve.publishing import PublishError, publish_version, publish_versions
from twinserve.staging import Proof, Source

pytestmark = pytest.mark.usefixtures("stand_ins")


def exporters_of(paths: ModelPaths) -> list[int]:
    """The processes that still work for this repository."""
    found = [(process.pid, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [pid for pid, command in found if any(str(paths.root) in part for part in command)]


@pytest.mark.parametrize("at", ["publish_directory", "digests_of", "write_golden"])
def test_a_full_disk_publishes_nothing(
    paths: ModelPaths, own_weights: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    if at == "publish_directory":
        monkeypatch.setattr(atomic, "_fsync_file", fail)
    else:
        monkeypatch.setattr(staging, at, fail)
    with pytest.raises(PublishError, match="No space left on device"):
        publish(own_weights)
    assert names_in(paths) == set()


def test_a_disk_that_takes_no_more_of_a_file_publishes_nothing(paths: ModelPaths, own_weights: Path) -> None:
    """The kernel itself refuses to let files grow, in the publisher and in its exporters."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000));"
        "from twinserve import staging; staging.EXPORTERS = {'torchserve': 'sound', 'tfserving': 'sound'};"
        "from twinserve.cli import main; main()"
    )
    options = ["publish", "mnist", "--weights", str(own_weights), "--repository", str(paths.repository)]
    done = subprocess.run(
        [sys.executable, "-c", code, *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert names_in(paths) == set()


def test_an_interrupted_publisher_cleans_up(paths: ModelPaths, own_weights: Path) -> None:
    paths.root.mkdir(parents=True)
    os.mkfifo(paths.root / "gate")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # `nohup make test` ignores it
        "from twinserve import staging; staging.EXPORTERS = {'torchserve': 'sound', 'tfserving': 'stuck'};"
        "from twinserve.cli import main; main()"
    )
    options = ["publish", "mnist", "--weights", str(own_weights), "--repository", str(paths.repository)]
    command = [sys.executable, "-c", code, *options]
    # A session of its own: the signal reaches the publisher alone, which must see to its exporters.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as publisher:
        wait_until((paths.root / "started").exists, 30, "an exporter has started")
        publisher.send_signal(signal.SIGINT)
        _, said = publisher.communicate(timeout=30)
    assert (publisher.returncode, said) == (130, "twinserve: interrupted; nothing was published\n")
    assert names_in(paths) == {"gate", "started"}
    assert exporters_of(paths) == []


def test_an_exporter_that_hangs_is_given_up_and_ended(paths: ModelPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.root.mkdir(parents=True)
    os.mkfifo(paths.root / "gate")
    use(monkeypatch, "stuck", "stuck")
    proof = Proof(timeout_s=0.5)
    with pytest.raises(
        PublishError, match=r"the export for tfserving and the export for torchserve did not finish within 0\.5 s"
    ):
        publish_version(paths.repository, shipped_model(), 1, Source(SHIPPED / "1.safetensors"), proof, lambda _: None)
    assert names_in(paths) <= {"gate", "started"}
    assert exporters_of(paths) == []


def test_a_killed_publisher_leaves_nothing_that_counts(
    paths: ModelPaths, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.root.mkdir(parents=True)
    gate, started = paths.root / "gate", paths.root / "started"
    os.mkfifo(gate)
    code = (
        "import sys, pathlib; from twinserve import publishing, staging; staging.EXPORTERS = {'tfserving': 'stuck'};"
        "publishing.publish_versions(*map(pathlib.Path, sys.argv[1:]), [1], print)"
    )
    with subprocess.Popen([sys.executable, "-c", code, paths.repository, model_dir]) as publisher:
        wait_until(started.exists, 30, "an exporter has started")
        publisher.kill()
    assert paths.published() == []

    waits = threading.Event()
    following = threading.Thread(
        target=publish_versions,
        args=(paths.repository, model_dir, [1], lambda line: waits.set() if "waiting" in line else None),
    )
    following.start()
    assert waits.wait(timeout=30), "the dead publisher's exporter still writes"
    gate.write_text("")  # lets the orphan end
    following.join(timeout=60)
    assert names_in(paths) == {"1", "live.json", "gate", "started"}

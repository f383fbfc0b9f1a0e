"""Gateway processes on one repository: who lives, who leads, what each uses."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.counts import Counts
from gateway.core.ports import PeerReport
from gateway.core.usage import Usage
from gateway.peers import DirectoryPeers
from tests.platform_process import wait_until

USING = {"torchserve": frozenset({("adder", 1), ("adder", 2)}), "tfserving": frozenset[tuple[str, int]]()}
OTHER = """
import sys
from pathlib import Path
from gateway.core.ports import PeerReport
from gateway.peers import DirectoryPeers
peers = DirectoryPeers(Path(sys.argv[1]))
peers.lead("this")
peers.tell(PeerReport({"torchserve": frozenset({("adder", 7)})}, {}, {}))
print(peers.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[DirectoryPeers]:
    with closing(DirectoryPeers(tmp_path)) as peers:
        yield peers


def test_others_see_what_is_told(tmp_path: Path, peers: DirectoryPeers) -> None:
    with closing(DirectoryPeers(tmp_path)) as other:
        assert peers.others() == other.others() == {}
        counts = Counts(accepted=3, answered=2, failed=1)
        counts.add_latency(0.01)
        told = PeerReport(
            USING, {("adder", 1): counts}, {"adder": 1}, {("adder", 1): Usage(answered=2, queue_ns=7)}, True
        )
        other.tell(told)
        (name, report), *more = peers.others().items()
        assert (name, more) == (other.name, [])
        assert report == told
        assert other.others() == {}, "nobody is his own peer"
    assert peers.others() == {}, "it has left"
    assert [path.name for path in (tmp_path / ".gateways").iterdir()] != []


def test_one_leads_until_it_leaves(tmp_path: Path, peers: DirectoryPeers) -> None:
    assert peers.lead("this")
    assert peers.lead("this")
    with closing(DirectoryPeers(tmp_path)) as other:
        assert not other.lead("this")
        assert other.lead("something else")
        peers.close()
        assert other.lead("this")


def test_who_stops_leading_leaves_it_to_another(tmp_path: Path, peers: DirectoryPeers) -> None:
    assert peers.lead("this")
    with closing(DirectoryPeers(tmp_path)) as other:
        assert not other.lead("this")
        for _ in range(2):
            peers.stop_leading("this")
        assert other.lead("this")
        assert not peers.lead("this")


def test_a_killed_process_is_no_peer_any_more_and_leaves_its_lead(tmp_path: Path, peers: DirectoryPeers) -> None:
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        name = process.stdout.readline().strip()
        assert peers.others()[name].using == {"torchserve": frozenset({("adder", 7)})}
        assert not peers.lead("this")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    wait_until(lambda: name not in peers.others(), 5, "the kernel gave its lock back")
    assert peers.lead("this")
    assert not list((tmp_path / ".gateways").glob(f"{name}.*")), "it is cleaned up after"


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path, peers: DirectoryPeers) -> None:
    assert peers.lead("this")
    shutil.rmtree(tmp_path / ".gateways")
    with closing(DirectoryPeers(tmp_path)) as other:
        assert other.lead("this")
        assert not peers.lead("this")
        peers.tell(PeerReport(USING, {}, {}))
        assert list(other.others()) == [peers.name]


def test_a_report_that_cannot_be_read_is_not_the_end_of_its_writer(tmp_path: Path, peers: DirectoryPeers) -> None:
    with closing(DirectoryPeers(tmp_path)) as other:
        told = PeerReport(USING, {}, {})
        other.tell(told)
        assert peers.others() == {other.name: told}
        (tmp_path / ".gateways" / f"{other.name}.json").write_text("{")
        assert peers.others() == {other.name: told}


def test_a_folder_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / ".gateways").write_text("in the way")
    with pytest.raises(OSError, match="gateways"):
        DirectoryPeers(tmp_path)

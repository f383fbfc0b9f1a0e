"""`twinserve compare`: the command line in front of loadtest.compare, which runs as a process of its own.

Its parameters are its flags, each with its help, which is what makes it long.
"""

import enum
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from twinserve.options import Json, Url
from twinserve.places import default_url, environment

MODULE = "loadtest.compare"


class Metric(enum.StrEnum):
    """What the verdict is by."""

    P50 = "p50"
    P90 = "p90"
    P99 = "p99"
    MEAN = "mean"
    UPSTREAM = "upstream"


def compare(
    quick: Annotated[bool, typer.Option("--quick", help="Under 3 minutes; default: under 30.")] = False,
    url: Url = None,
    model: Annotated[str, typer.Option(help="The model to ask; its live version is compared.")] = "mnist",
    metric: Annotated[Metric, typer.Option(help="The latency that the verdict is by.")] = Metric.P50,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second in all pairs; default: half of what the slower engine can do."),
    ] = None,
    slo_ms: Annotated[float, typer.Option(help="The p99 in milliseconds that throughput is searched for.")] = 50.0,
    price_per_hour: Annotated[
        float | None, typer.Option(help="What this machine costs, in any currency: prices a million inferences.")
    ] = None,
    direct: Annotated[
        list[str] | None,
        typer.Option(
            help="ENGINE=URL, once for each engine: compare them without the gateway too.", metavar="ENGINE=URL"
        ),
    ] = None,
    torchserve_key_file: Annotated[
        Path | None, typer.Option(help="TorchServe's token file, for --direct; default: that of `twinserve up`.")
    ] = None,
    pairs: Annotated[int | None, typer.Option(help="Pairs behind the gateway, an even number.", min=2)] = None,
    slot_s: Annotated[float | None, typer.Option(help="Seconds of each half of a pair.")] = None,
    pairs_only: Annotated[
        bool, typer.Option("--pairs-only", help="Leave out the search for throughput and the swaps.")
    ] = False,
    factors: Annotated[
        bool,
        typer.Option("--factors", help="Measure the articles' table too: 3 minutes more with --quick, else 9."),
    ] = False,
    swaps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Promotes under load at the end. Default, where the operators' token and two versions are at hand: 2 "
            "with --quick, else 6.",
        ),
    ] = None,
    no_swaps: Annotated[bool, typer.Option("--no-swaps", help="Change nothing: promote no version.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals, orders and resampling.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; default: below .twinserve/compare.", file_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which engine is faster on this machine, by how much, and how sure that is.

    Both answer the same model behind the same gateway. They take turns in pairs, ABBA or BAAB by the toss of a coin,
    under the same Poisson arrivals; first each is compared with itself, which shows the noise. The verdict is the ratio
    of a latency with its 95 % interval over the pairs, and often it is that no difference can be detected.

    Also measured: latency percentiles, throughput with p99 within --slo-ms, where the time of a request goes, processor
    seconds, memory and (by NVML) GPU energy per 1,000 inferences. The report is one HTML page that works offline
    (compare.html), with all its numbers beside it (compare.json). Nothing else should use the machine meanwhile.

    At the end two versions change places under load, and live and kept ones are put back; --no-swaps leaves that out.

    Exit code 0 whatever the verdict is, 2 when nothing could be compared or the report not be
    written, 130 after Ctrl-C, which keeps what was measured. It needs what the package's extra "load" installs.
    """
    arguments = ["--url", url or default_url(environment()), "--model", model, "--metric", metric, "--seed", str(seed)]
    arguments += ["--slo-ms", str(slo_ms)]
    given = {
        "--rate": rate,
        "--price-per-hour": price_per_hour,
        "--torchserve-key-file": torchserve_key_file,
        "--pairs": pairs,
        "--slot-s": slot_s,
        "--swaps": swaps,
        "--out": out,
    }
    arguments += [text for flag, value in given.items() if value is not None for text in (flag, str(value))]
    arguments += [text for address in direct or () for text in ("--direct", address)]
    flags = {
        "--quick": quick,
        "--pairs-only": pairs_only,
        "--no-swaps": no_swaps,
        "--factors": factors,
        "--json": as_json,
    }
    arguments += [flag for flag, is_set in flags.items() if is_set]
    raise typer.Exit(_run([sys.executable, "-m", MODULE, *arguments]))


def _run(command: Sequence[str]) -> int:
    """Run it in a session of its own, so that Ctrl-C reaches it once, by way of us; returns its exit code."""
    process = subprocess.Popen(command, env=dict(environment()), start_new_session=True)

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        if process.poll() is None:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = process.wait()
    return code if code >= 0 else 128 - code

"""`python -m loadtest.bench.grpc_generator`: unary gRPC calls in a closed loop; a job on stdin, a report on stdout.

The same grpc.aio client for every server: messages are bytes that are made once, and no answer is read here. A server
that is faster than this client (some 6,000 calls a second on a core) is measured as being as fast as it.
"""

import asyncio
import time
from collections import Counter

import grpc

from loadtest.bench.figures import Latency
from loadtest.bench.jobs import MOST_SAMPLES, Job, JobReport, Sample, read_job, write_report

_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
_TIMEOUT_S = 20.0


class Load:
    """`connections` callers that each send the next message when the last is answered."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._number = 0
        self.latencies_s: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self._counts_from = time.perf_counter() + job.warmup_s
        self._ends_at = self._counts_from + job.duration_s

    async def keep_calling(self, call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]) -> None:
        job, clock = self._job, time.perf_counter
        while (sent_at := clock()) < self._ends_at:
            self._number += 1
            number = self._number % len(job.requests)
            try:
                answer = await call(job.requests[number], metadata=job.metadata, timeout=_TIMEOUT_S)
            except grpc.RpcError as error:
                if sent_at >= self._counts_from:
                    self.statuses[error.code().name] += 1
                continue
            now = clock()
            if sent_at < self._counts_from or now > self._ends_at:
                continue
            self.latencies_s.append(now - sent_at)
            if len(self.latencies_s) % job.sample_every == 1 and len(self.samples) < MOST_SAMPLES:
                self.samples.append(Sample(number, answer))


async def run(job: Job) -> JobReport:
    """One channel, as one client has it."""
    async with grpc.aio.insecure_channel(f"{job.host}:{job.port}", options=_OPTIONS) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(job.method)
        load = Load(job)
        await asyncio.gather(*(load.keep_calling(call) for _ in range(job.connections)))
    latency = Latency.of(load.latencies_s)
    return JobReport(len(load.latencies_s), job.duration_s, latency, dict(load.statuses), load.samples)


def main() -> None:
    write_report(asyncio.run(run(read_job())))


if __name__ == "__main__":
    main()

"""Spans of OpenTelemetry, made of what became of requests and sent to a collector by OTLP over HTTP.

Rules: loaded only when traces are exported. Spans are made and sent on a thread of their own; a collector that cannot
be reached costs requests nothing, loses the spans, and is said once. Attributes are those of OpenTelemetry's semantic
conventions for HTTP and RPC servers; ours begin with `twinserve.`.
"""

import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AttributeValue

from gateway.accounts.ended import Ended, Outcome
from gateway.accounts.late_hand import LateHand
from gateway.accounts.trace_context import Trace, new_id

log = logging.getLogger(__name__)

EXPORT_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 3.0
_TRACES_PATH = "/v1/traces"
_EXPORTER_LOGGER = "opentelemetry.exporter.otlp"
_LONGEST_CAUSE = 300
_SCOPE = "twinserve.gateway"
_NS = 1_000_000_000

Placed = tuple[str, int, float, float]
"""A stage: its name, its span's id, and when it began and ended, in seconds after the request did."""


class Spans:
    """Sends to the collector at `endpoint`, a URL; where it has no path, to the usual one. OTEL_… variables count."""

    def __init__(self, endpoint: str, twinserve_version: str) -> None:
        has_path = urlsplit(endpoint).path.strip("/")
        self._endpoint = endpoint if has_path else endpoint.rstrip("/") + _TRACES_PATH
        self._exporter = OTLPSpanExporter(endpoint=self._endpoint, timeout=EXPORT_TIMEOUT_S)
        self._makes = _SpanMaker(twinserve_version)
        self._last_words = _LastWords()
        self._is_failing = False
        self._lost = 0
        self._hand: LateHand[Ended] = LateHand("traces", self._send)

    def start(self) -> None:
        """Begin to send. From now on what the exporter logs for each attempt is said once, here."""
        exporters = logging.getLogger(_EXPORTER_LOGGER)
        exporters.handlers = [self._last_words]
        exporters.propagate = False
        exporters.setLevel(logging.WARNING)
        self._hand.start()

    def takes(self, outcome: Outcome, trace: Trace | None) -> bool:  # noqa: ARG002
        """See gateway.accounts.keeping.Teller."""
        return trace is not None and trace.is_sampled

    def tell(self, ended: Ended) -> None:
        """A request ended."""
        self._hand.leave(ended)

    def close(self) -> None:
        """Send what is left, for some seconds at most."""
        self._hand.close(_STOP_TIMEOUT_S)
        if self._lost:
            log.warning("traces of %d requests did not reach %s", self._lost, self._endpoint)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _send(self, many: Sequence[Ended]) -> None:
        spans = [span for ended in many for span in self._makes.spans(ended)]
        self._last_words.text = ""
        is_failing = self._exporter.export(spans) is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            log.warning("no traces reach %s: %s (requests are not affected)", self._endpoint, self._last_words.text)
        elif self._is_failing and not is_failing:
            log.info("traces reach %s again; those of %d requests did not", self._endpoint, self._lost)
            self._lost = 0
        self._is_failing = is_failing
        self._lost += len(many) if is_failing else 0


class _LastWords(logging.Handler):
    """Keeps what the exporter logs first in an attempt: the cause, of which the rest follows."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = self.text or record.getMessage()[:_LONGEST_CAUSE]


class _SpanMaker:
    """Makes a request's spans: its own, and one below it for each stage."""

    def __init__(self, twinserve_version: str) -> None:
        ours: dict[str, AttributeValue] = {
            "service.name": "twinserve",
            "service.version": twinserve_version,
            "service.instance.id": str(uuid.uuid4()),
            "process.pid": os.getpid(),
        }
        self._resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._scope = InstrumentationScope(_SCOPE, twinserve_version)

    def spans(self, ended: Ended) -> Iterator[ReadableSpan]:
        """The request's span first."""
        trace = ended.trace
        if trace is None:
            return
        began_ns = ended.ended_ns - round(ended.total_s * _NS)
        own = _context(trace, trace.span_id, is_remote=False)
        yield ReadableSpan(
            name=_name(ended),
            context=own,
            parent=_context(trace, trace.parent_id, is_remote=True) if trace.parent_id else None,
            resource=self._resource,
            attributes=_attributes(ended),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, ended.outcome.error)
            if ended.outcome.is_fault
            else Status(StatusCode.UNSET),
            start_time=began_ns,
            end_time=ended.ended_ns,
            instrumentation_scope=self._scope,
        )
        for stage, span_id, start_s, stop_s in _place_stages(ended, trace):
            is_upstream = span_id == trace.upstream_id
            yield ReadableSpan(
                name=stage,
                context=_context(trace, span_id, is_remote=False),
                parent=own,
                resource=self._resource,
                attributes={"twinserve.engine": ended.engine} if is_upstream else {},
                kind=SpanKind.CLIENT if is_upstream else SpanKind.INTERNAL,
                start_time=began_ns + round(start_s * _NS),
                end_time=began_ns + round(stop_s * _NS),
                instrumentation_scope=self._scope,
            )


def _place_stages(ended: Ended, trace: Trace) -> Iterator[Placed]:
    """Where each stage lies. What came between decoding and the queue is an engine that did not answer.

    Of a failed request nothing is known but when an engine was asked, if it was told of the trace.
    """
    stages_s = ended.stages_s
    if stages_s is None:
        if ended.asked_after_s is not None:
            yield "upstream", trace.upstream_id, ended.asked_after_s, ended.total_s
        return
    answered_s = max(stages_s.total - stages_s.encode, 0.0)
    asked_s = max(answered_s - stages_s.upstream, 0.0)
    yield "decode", new_id(), 0.0, stages_s.decode
    if ended.engine:
        yield "queue", new_id(), max(asked_s - stages_s.queue, 0.0), asked_s
        yield "upstream", trace.upstream_id, asked_s, answered_s
    yield "encode", new_id(), answered_s, stages_s.total


def _context(trace: Trace, span_id: int, *, is_remote: bool) -> SpanContext:
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(trace.trace_id, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED), state)


def _name(ended: Ended) -> str:
    """One of few: parameters of a path go by their names, and a path that nobody knows is left out."""
    return " ".join(filter(None, (ended.asker.method, ended.asker.route)))


def _attributes(ended: Ended) -> Mapping[str, AttributeValue]:
    asker = ended.asker
    said: dict[str, AttributeValue | None]
    if asker.method:
        said = {
            "http.request.method": asker.method,
            "http.response.status_code": ended.outcome.status,
            "http.route": asker.route,
            "url.path": asker.path,
            "url.scheme": "http",
        }
    else:
        said = {"rpc.system.name": "grpc", "rpc.method": asker.path, "rpc.response.status_code": ended.outcome.status}
    said |= {
        "error.type": None if ended.outcome.error is None else ended.outcome.label,
        "twinserve.request_id": asker.request_id,
        "twinserve.protocol": ended.protocol,
        "twinserve.model": ended.model,
        "twinserve.version": int(ended.version) if ended.version else None,
        "twinserve.engine": ended.engine,
        "twinserve.outcome": ended.outcome.label,
        "twinserve.rows": ended.rows,
    }
    return {name: value for name, value in said.items() if value is not None and value != ""}

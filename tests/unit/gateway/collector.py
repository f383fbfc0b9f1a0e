"""A collector of OpenTelemetry: it keeps the spans that it is sent by OTLP over HTTP, read by their own messages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """`spans` are OTLP's, in the order they came; `resource` is what they said of their sender."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[Any] = []
        self.resource: dict[str, Any] = {}
        self.paths: set[str] = set()

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        for told in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = attributes_of(told.resource)
            for scope in told.scope_spans:
                self.spans += scope.spans

    def servers(self) -> list[Any]:
        """The requests' own spans."""
        return [span for span in self.spans if span.kind == span.SPAN_KIND_SERVER]

    def below(self, parent: Any) -> dict[str, Any]:
        """The spans directly below one, by their names."""
        return {span.name: span for span in self.spans if span.parent_span_id == parent.span_id}


def attributes_of(told: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in told.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()

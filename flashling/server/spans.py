"""Spans of requests for an OpenTelemetry collector: all that a server ever sends unasked, and only
where it is told to with `--otlp`.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import __version__
from .turn import Turn

PATH = "/v1/traces"
# seconds for one attempt to hand spans over
PATIENCE = 5.0


class Spans:
    """Hands a span for each request to the collector at `url`, in a thread of its own. One that
    does not answer costs spans, not requests.
    """

    def __init__(self, url: str) -> None:
        """url: with or without /v1/traces. RuntimeError if the extra is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            told = f"{error}; --otlp needs pip install 'flashling[otlp]'"
            raise RuntimeError(told) from None
        about = Resource.create({SERVICE_NAME: "flashling", SERVICE_VERSION: __version__})
        endpoint = url.rstrip("/").removesuffix(PATH) + PATH
        # the server says when it ends
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint, timeout=PATIENCE)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("flashling.server", __version__)

    def record(self, turn: Turn, account: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """A turn that is over, from its acceptance to its end, with its account as attributes.
        headers: of the request, whose `traceparent` the span stands under.
        """
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        span = self._tracer.start_span(
            f"{account['gen_ai.operation.name']} {account['gen_ai.request.model']}",
            TraceContextTextMapPropagator().extract(dict(headers)),
            SpanKind.SERVER,
            {"gen_ai.provider.name": "flashling", **account},
            start_time=_nanoseconds(turn.began),
        )
        if turn.first:
            span.add_event("first token", timestamp=_nanoseconds(turn.first))
        if turn.failure is not None:
            span.set_attribute("error.type", type(turn.failure).__name__)
            span.set_status(StatusCode.ERROR, str(turn.failure))
        span.end(_nanoseconds(turn.ended))

    def close(self) -> None:
        """Hand over what is left; it may take as long as the collector takes."""
        self._provider.shutdown()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)

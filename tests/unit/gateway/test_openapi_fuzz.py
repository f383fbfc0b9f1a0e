"""schemathesis: whatever the OpenAPI document allows gets an answer that it tells of, and no server error."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.unit.gateway.listening import Listening


@pytest.mark.long
def test_no_operation_answers_with_a_server_error(listening: Listening) -> None:
    """Through strategies, not schemathesis's pytest plugin, which does not work with pytest 9.2."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{listening.port}/openapi.json")
    called: set[str] = set()
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]

        @given(case=operation.as_strategy())
        @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def call(case: Any) -> None:
            response = case.call()
            assert response.status_code < 500, (case.as_curl_command(), response.text)
            documented = case.operation.definition.raw["responses"]
            assert str(response.status_code) in documented, (case.as_curl_command(), response.text, list(documented))
            called.add(case.operation.label)

        call()
    assert {"POST /v2/models/{model}/infer", "POST /models/{model}/classify", "GET /metrics"} <= called

"""Every alert fires when what it is about happens, nothing else fires with it, and it clears when that is over.

A real Prometheus scrapes a real gateway, whose engines are stand-ins. Times are shortened
(tests/monitoring/shortened_rules.py).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.monitoring.alerting_stage import SECOND, LyingExporter, StagedGateway, asking, double, triple
from tests.monitoring.monitored_queries import ALERTS
from tests.monitoring.prometheus_server import Prometheus, running_prometheus
from tests.monitoring.shortened_rules import write_shortened
from tests.platform_process import wait_until

pytestmark = pytest.mark.engines

FIRES_WITHIN_S = 60
CLEARS_WITHIN_S = 60
CAUSED: set[str] = set()
"""Alerts that a test here has seen fire and clear."""


@dataclass
class Stage:
    """The gateway that Prometheus watches, an exporter that may lie, and what keeps the gateway running."""

    gateway: StagedGateway
    liar: LyingExporter
    prometheus: Prometheus
    running: ExitStack

    @contextmanager
    def gateway_stopped(self) -> Iterator[None]:
        """There is no gateway while the block runs."""
        self.running.close()
        try:
            yield
        finally:
            self.running.enter_context(self.gateway.running())

    def fire(self, *expected: str) -> None:
        """Wait until each of these has fired, and nothing else has."""
        seen: set[str] = set()

        def all_fired() -> bool:
            seen.update(self.prometheus.alerts())
            return seen >= set(expected)

        wait_until(all_fired, FIRES_WITHIN_S, f"{expected} fire; so far {seen}")
        assert seen == set(expected)

    def clear(self, *expected: str) -> None:
        """Wait until none fires any more."""
        wait_until(lambda: not self.prometheus.alerts(), CLEARS_WITHIN_S, f"{expected} clear")
        CAUSED.update(expected)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """All of it, scraped and quiet."""
    folder = tmp_path_factory.mktemp("alerts")
    gateway, liar = StagedGateway(tmp_path_factory.mktemp("repository")), LyingExporter()
    with ExitStack() as running, liar.running() as liars_address:
        running.enter_context(gateway.running())
        configuration = write_shortened(folder, [gateway.address, liars_address])
        with running_prometheus(folder, configuration) as prometheus:
            up = [("twinserve", "up")] * 2
            wait_until(lambda: prometheus.targets() == up, FIRES_WITHIN_S, "both are scraped")
            yield Stage(gateway, liar, prometheus, running)


def test_nothing_fires_while_all_is_well(stage: Stage) -> None:
    with asking(stage.gateway.url, clients=2):
        answered = 'sum(rate(twinserve_requests_total{outcome="ok"}[4s])) > 5'
        wait_until(lambda: stage.prometheus.has_data(answered), FIRES_WITHIN_S, "requests are answered")
        longest = "model:twinserve_error_ratio:rate3d == 0 and model:twinserve_request_seconds:p99_5m < 0.25"
        wait_until(lambda: stage.prometheus.has_data(longest), FIRES_WITHIN_S, "recorded")
    assert stage.prometheus.broken_rules() == {}
    assert stage.prometheus.alerts() == set()


def test_engines_that_disagree(stage: Stage) -> None:
    engine = stage.gateway.engines["tfserving"]
    engine.answer = triple
    stage.gateway.order("PUT", "routing", mirror={"tfserving": 1.0})
    try:
        with asking(stage.gateway.url, clients=2):
            stage.fire("TwinserveMirrorMismatch")
    finally:
        engine.answer = double
        stage.gateway.order("PUT", "routing", mirror={})
    stage.clear("TwinserveMirrorMismatch")


def test_a_version_that_never_finishes_loading_and_is_withdrawn(stage: Stage) -> None:
    engine = stage.gateway.engines["torchserve"]
    engine.is_loading = True
    stage.gateway.order("POST", "promote", version=2)
    stage.fire("TwinserveSwapTooLong")
    stage.gateway.order("POST", "rollback")
    wait_until(lambda: "TwinserveSwapFailed" in stage.prometheus.alerts(), FIRES_WITHIN_S, "the failure is told")
    engine.is_loading = False
    stage.clear("TwinserveSwapTooLong", "TwinserveSwapFailed")


def test_an_engine_so_slow_that_requests_pile_up_and_fail_and_a_ledger_that_lies(stage: Stage) -> None:
    """Sixty clients want one engine that answers every half second; some of them give it 50 ms."""
    url, liar = stage.gateway.url, stage.liar
    expected = (
        "TwinserveSlowAnswers",
        "TwinserveQueueFills",
        "TwinserveErrorBudgetBurnsFast",
        "TwinserveErrorBudgetBurnsSlowly",
        "TwinserveLedgerUnbalanced",
    )
    liar.is_lying = True
    try:
        with (
            stage.gateway.answering_seldom("tfserving"),
            asking(url, clients=60, engine="tfserving"),
            asking(url, clients=3, engine="tfserving", timeout_s=0.05),
        ):
            stage.fire(*expected)
    finally:
        liar.is_lying = False
    stage.clear(*expected)


def test_one_of_two_endpoints_that_is_down(stage: Stage) -> None:
    endpoint = stage.gateway.engines[SECOND]
    endpoint.is_reachable = False
    stage.fire("TwinserveEndpointDown")
    endpoint.is_reachable = True
    stage.clear("TwinserveEndpointDown")


def test_engines_that_are_down(stage: Stage) -> None:
    engines = stage.gateway.engines
    engines["tfserving"].is_reachable = False
    stage.fire("TwinserveEngineDown")
    for name in ("torchserve", SECOND):
        engines[name].is_reachable = False
    stage.fire("TwinserveEngineDown", "TwinserveNoEngine")
    for engine in engines.values():
        engine.is_reachable = True
    stage.clear("TwinserveEngineDown", "TwinserveNoEngine")


def test_a_gateway_that_is_gone(stage: Stage) -> None:
    with stage.gateway_stopped():
        stage.fire("TwinserveGatewayAbsent")
    stage.clear("TwinserveGatewayAbsent")


def test_that_was_every_alert(request: pytest.FixtureRequest, stage: Stage) -> None:
    """An alert that is added needs its cause here."""
    selected = {getattr(item, "originalname", "") for item in request.session.items if item.path == Path(__file__)}
    if len(selected) < sum(name.startswith("test_") for name in globals()):
        pytest.skip("only some of the tests were run")
    assert {alert["alert"] for alert in ALERTS} == CAUSED

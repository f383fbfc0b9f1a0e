"""The Prometheus rules and the Grafana dashboard: well formed, and about metrics that there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from contracts.addresses import Ports
from contracts.tfserving_command import MONITORING_PATH
from gateway.beginnings import OUR_FAULTS
from gateway.settings import Settings
from tests.monitoring.monitored_queries import (
    ALERTS,
    DASHBOARD,
    EXPRESSIONS,
    FOLDER,
    PANELS,
    RECORDED,
    ROOT,
    RULES,
    Rule,
    dashboard_expressions,
    load_yaml,
)
from tests.monitoring.shortened_rules import SHORTENED, shorten, write_shortened
from tests.unit.exposed import Exposed, exposed_metrics, outcomes_of_failures
from tests.unit.promql import read_query

TESTS = sorted((RULES / "tests").glob("*.yml"))
PAGE = ROOT / "docs" / "monitoring.md"

SCRAPED = {"job", "instance"}
# What Prometheus itself says, and its labels that are used here.
PROMETHEUS = {"up": SCRAPED, "ALERTS": {"alertname", "alertstate"}}
# Labels whose values are words of the gateway's own.
WORDS = {"outcome", "stage", "state", "result", "phase"}


@pytest.fixture(scope="module")
def exposed() -> Exposed:
    return exposed_metrics()


def labels_by_metric(exposed: Exposed) -> dict[str, set[str]]:
    """The labels of what is exposed, recorded or Prometheus's own. A recorded metric keeps those it is grouped by."""
    known = {name: set(labels) | SCRAPED for name, labels in exposed.items()} | PROMETHEUS
    for rule in RECORDED:
        query = read_query(rule["expr"])
        passed_on = set[str]().union(*(known.get(each.metric, set()) for each in query.selectors if ":" in each.metric))
        known[rule["record"]] = (set(query.labels) or passed_on) - {"le"}
    return known


def problems_of(expression: str, exposed: Exposed) -> list[str]:
    """What an expression names that is not there."""
    known = labels_by_metric(exposed)
    query = read_query(expression)
    problems = [f"no metric {each.metric}" for each in query.selectors if each.metric not in known]
    for selector in query.selectors:
        for label, _, value in selector.matchers:
            if label not in known.get(selector.metric, {label}):
                problems.append(f"{selector.metric} has no label {label}")
            elif label in WORDS and selector.metric in exposed:
                strange = set(value.split("|")) - exposed[selector.metric][label]
                problems += [f"{selector.metric} has no {label} {word}" for word in strange]
    labels = set[str]().union(*(known.get(each.metric, set()) for each in query.selectors))
    return problems + [f"nothing here has the label {label}" for label in query.labels - labels]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_no_query_names_what_does_not_exist(expression: str, exposed: Exposed) -> None:
    assert problems_of(expression, exposed) == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("rate(twinserve_request_total[5m])", "no metric twinserve_request_total"),
        ("1 - model:twinserve_error_ratio:rate2h", "no metric model:twinserve_error_ratio:rate2h"),
        ('twinserve_inflight{model="mnist"}', "twinserve_inflight has no label model"),
        ('twinserve_stage_seconds_sum{stage=~"queue|wait"}', "twinserve_stage_seconds_sum has no stage wait"),
        ("sum by (model) (twinserve_inflight)", "nothing here has the label model"),
    ],
)
def test_what_does_not_exist_is_found(expression: str, problem: str, exposed: Exposed) -> None:
    assert problems_of(expression, exposed) == [problem]


def test_a_recorded_name_says_its_labels(exposed: Exposed) -> None:
    known = labels_by_metric(exposed)
    for rule in RECORDED:
        said = set(rule["record"].split(":")[0].split("_"))
        assert said == known[rule["record"]], rule["record"]


def test_failures_are_ours_or_the_clients_everywhere_alike() -> None:
    asked = {
        frozenset(value.split("|"))
        for expression in EXPRESSIONS
        for selector in read_query(expression).selectors
        for label, _, value in selector.matchers
        if label == "outcome"
    }
    ok = frozenset(("ok",))
    ours = max(asked, key=len) - ok
    assert asked == {ok, ours, ours | ok}
    assert ours == set(OUR_FAULTS), "those begin at 0"
    page = PAGE.read_text("utf-8")
    told = {word for line in page.splitlines() if line.startswith("| ours") for word in re.findall(r"`(\w+)`", line)}
    clients = {
        word for line in page.splitlines() if line.startswith("| the client") for word in re.findall(r"`(\w+)`", line)
    }
    assert told == ours
    assert told | clients == outcomes_of_failures()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_to_do(alert: Rule, exposed: Exposed) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    annotations = alert["annotations"]
    assert all(annotations[name].strip() for name in ("summary", "description"))
    known = labels_by_metric(exposed)
    there = SCRAPED.union(*(known[each.metric] for each in read_query(alert["expr"]).selectors))
    assert set(re.findall(r"\$labels\.(\w+)", str(annotations))) <= there
    page, anchor = annotations["runbook"].split("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_objective_of_latency_is_a_bound_of_the_buckets(exposed: Exposed) -> None:
    """Between two bounds a quantile is a guess: an alert at 0.25 s could be off by a fifth, either way."""
    (rule,) = (alert for alert in ALERTS if alert["alert"] == "TwinserveSlowAnswers")
    objective = rule["expr"].rpartition(" > ")[2]
    assert objective in exposed["twinserve_request_seconds_bucket"]["le"]
    assert float(objective) == Settings.model_fields["latency_target_s"].default


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_are_tried_with_buckets_that_there_are(path: Path, exposed: Exposed) -> None:
    series = [each["series"] for case in load_yaml(path)["tests"] for each in case.get("input_series", ())]
    tried = [(name, re.findall(r'\ble="([^"]+)"', labels)) for name, _, labels in (s.partition("{") for s in series)]
    assert all(set(bounds) <= exposed[name]["le"] for name, bounds in tried if bounds)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_is_seen_to_fire_and_to_clear(alert: Rule) -> None:
    fates = []
    for path in TESTS:
        for case in load_yaml(path)["tests"]:
            looks = [look for look in case.get("alert_rule_test", []) if look["alertname"] == alert["alert"]]
            fates.append([bool(look["exp_alerts"]) for look in looks])
    assert any(True in fate and not fate[-1] for fate in fates)


def test_every_panel_has_a_unit_a_description_and_its_place() -> None:
    for panel in PANELS:
        assert panel["description"].strip(), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        for target in (panel, *panel["targets"]):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        x, y, w, h = (panel["gridPos"][side] for side in "xywh")
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert x + w <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_prometheus_scrapes_the_default_addresses_and_reads_every_rule() -> None:
    config = load_yaml(FOLDER / "prometheus.yml")
    assert {FOLDER / name for name in config["rule_files"]} == set(RULES.glob("*.yml"))
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    ports = Ports()
    assert targets == {
        "twinserve": [f"127.0.0.1:{ports.http}"],
        "torchserve": [f"127.0.0.1:{ports.torchserve_metrics}"],
        "tfserving": [f"127.0.0.1:{ports.tfserving_rest}"],
    }
    paths = {job["job_name"]: job.get("metrics_path", "/metrics") for job in config["scrape_configs"]}
    assert paths == {"twinserve": "/metrics", "torchserve": "/metrics", "tfserving": MONITORING_PATH}


def test_containers_have_the_same_rules_and_a_job_of_the_same_name() -> None:
    alone, composed = (load_yaml(FOLDER / name) for name in ("prometheus.yml", "prometheus.compose.yml"))
    assert composed["rule_files"] == alone["rule_files"]
    assert composed["global"] == alone["global"]
    [job] = composed["scrape_configs"]
    assert job["job_name"] == alone["scrape_configs"][0]["job_name"]
    [found] = job["dns_sd_configs"]
    assert (found["names"], found["type"], found["port"]) == (["gateway"], "A", Ports().http)


def test_grafana_finds_its_data_source_and_the_dashboard() -> None:
    """As the files are mounted: monitoring/ is /monitoring. Grafana itself is run by no test."""
    compose = load_yaml(ROOT / "docker-compose.yml")["services"]
    provisioning = Path(compose["grafana"]["environment"]["GF_PATHS_PROVISIONING"])
    folder = FOLDER / provisioning.relative_to("/monitoring")
    [source] = load_yaml(folder / "datasources" / "prometheus.yml")["datasources"]
    [listening] = [flag for flag in compose["prometheus"]["command"] if "listen-address" in flag]
    assert source["url"] == f"http://prometheus:{listening.rpartition(':')[2]}"
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert source["type"] == variables["datasource"]["query"]
    assert source["isDefault"], "the dashboard names no data source, so it takes the default"
    assert (
        source["jsonData"]["timeInterval"] == load_yaml(FOLDER / "prometheus.compose.yml")["global"]["scrape_interval"]
    )
    [provider] = load_yaml(folder / "dashboards" / "twinserve.yml")["providers"]
    shown = FOLDER / Path(provider["options"]["path"]).relative_to("/monitoring")
    assert sorted(path.name for path in shown.rglob("*.json")) == ["twinserve.json"]


def test_shortened_rules_differ_from_the_shipped_in_nothing_but_their_times() -> None:
    times = [seconds(time) for time in SHORTENED.values()]
    assert [seconds(time) for time in SHORTENED] == sorted(map(seconds, SHORTENED))
    assert times == sorted(set(times)), "a longer time stays longer"
    for name in ("recording.yml", "alerts.yml"):
        shipped, shortened = load_yaml(RULES / name), shorten(load_yaml(RULES / name))
        assert shipped != shortened
        assert _without_times(shipped) == _without_times(shortened)


def seconds(time: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(\w+)", time).groups()  # type: ignore[union-attr]
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


def _without_times(rules: Rule) -> str:
    return re.sub(r"\[\w+\]|'for': '\w+'", "TIME", str(rules))


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on PATH (Debian's package prometheus has it): rules are not run")
    return found


def run(*command: str | Path) -> None:
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_promtool_reads_configuration_rules_and_the_dashboards_queries(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"query:{at}", "expr": query} for at, query in enumerate(dashboard_expressions())]
    queries = tmp_path / "queries.yml"
    queries.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")
    run(promtool, "check", "config", FOLDER / "prometheus.yml")
    run(promtool, "check", "config", FOLDER / "prometheus.compose.yml")
    run(promtool, "check", "config", write_shortened(tmp_path, ["127.0.0.1:8000"]))
    run(promtool, "check", "rules", queries)


@pytest.mark.long
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_runs_the_rules(promtool: str, path: Path) -> None:
    run(promtool, "test", "rules", path)

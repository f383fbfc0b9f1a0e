"""What is shipped for Prometheus and Grafana: the rules, and every query of the dashboard's."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "monitoring"
RULES = FOLDER / "rules"

Rule = dict[str, Any]


def load_yaml(path: Path) -> Any:
    """A document of one of the files."""
    return yaml.safe_load(path.read_text("utf-8"))


def rules_of(name: str) -> list[Rule]:
    """All rules of a file in monitoring/rules."""
    return [rule for group in load_yaml(RULES / name)["groups"] for rule in group["rules"]]


RECORDED = rules_of("recording.yml")
ALERTS = rules_of("alerts.yml")
DASHBOARD = json.loads((FOLDER / "grafana" / "twinserve.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def dashboard_expressions() -> Iterator[str]:
    """Every query of the dashboard's, Grafana's variables filled in."""
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    queries += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    for query in queries:
        yield query.replace("$__rate_interval", "1m").replace("$model", "mnist").replace("$engine", "torchserve")
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            yield f"count by ({label}) ({metric})"


EXPRESSIONS = [rule["expr"] for rule in (*RECORDED, *ALERTS)] + list(dashboard_expressions())

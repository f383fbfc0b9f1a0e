"""The shipped rules with all their times shortened, so that a test lives to see each alert fire and clear.

The rule: every window, every `for` and both intervals are replaced by this table and nothing else is. A longer time
stays longer than a shorter one, and rates have four samples or more, as in the shipped files. Thresholds, names and
expressions are those that are shipped.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.monitoring.monitored_queries import FOLDER, RULES, load_yaml

SHORTENED = {
    "15s": "500ms",
    "30s": "1s",
    "1m": "2s",
    "2m": "3s",
    "5m": "4s",
    "10m": "5s",
    "15m": "8s",
    "30m": "9s",
    "1h": "10s",
    "6h": "12s",
    "1d": "14s",
    "3d": "20s",
}


def write_shortened(folder: Path, targets: Sequence[str]) -> Path:
    """Write rules and a configuration that scrapes these HOST:PORT as gateways; returns the configuration's path."""
    document = load_yaml(FOLDER / "prometheus.yml")
    times = {name: SHORTENED[document["global"][name]] for name in ("scrape_interval", "evaluation_interval")}
    document["global"] = {**times, "scrape_timeout": times["scrape_interval"]}
    [job] = [job for job in document["scrape_configs"] if job["job_name"] == "twinserve"]
    job["static_configs"] = [{"targets": list(targets)}]
    document["scrape_configs"] = [job]
    for name in document["rule_files"]:
        _write(folder / Path(name).name, shorten(load_yaml(RULES / Path(name).name)))
    document["rule_files"] = [Path(name).name for name in document["rule_files"]]
    return _write(folder / "prometheus.yml", document)


def shorten(rules: dict[str, Any]) -> dict[str, Any]:
    """A document of rules with shortened times. Raises KeyError for a time that is not in the table."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda found: f"[{SHORTENED[found[1]]}]", rule["expr"])
            if "for" in rule:
                rule["for"] = SHORTENED[rule["for"]]
    return rules


def _write(path: Path, document: Any) -> Path:
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return path

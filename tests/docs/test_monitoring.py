"""What we hand out to watch over it names metrics, ports and pages that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from deploy.manifests import WORKLOADS, documents
from docs.pages import ROOT
from isthmus import metrics

RULES = yaml.safe_load((ROOT / "packaging" / "prometheus" / "alerts.yaml").read_text("utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
KNOWN = {one.name: one for one in metrics.documented()}
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
SERIES = {name + part: one for name, one in KNOWN.items() for part in PARTS[one.type]}


def named(text: str) -> set[str]:
    return set(re.findall(r"\bisthmus_[a-z0-9_]+", text))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_is_shown(rule: dict[str, Any]) -> None:
    """Every series in it exists, with the labels it selects, groups and speaks by; it says what to do."""
    series = named(rule["expr"])
    assert series
    assert series <= SERIES.keys()
    labels = {label for name in series for label in SERIES[name].labels}
    for name, selected in re.findall(r"\b(isthmus_[a-z_]+)\{([^}]*)\}", rule["expr"]):
        assert set(re.findall(r"(\w+)=", selected)) <= set(SERIES[name].labels)
    for grouped in re.findall(r"by \(([^)]*)\)", rule["expr"]):
        assert set(re.split(r",\s*", grouped)) <= labels | {"le"}
    spoken = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert spoken <= labels | {"instance"}
    assert {"summary", "description"} <= rule["annotations"].keys()
    assert rule["labels"]["severity"] in ("critical", "warning")


def test_labels_are_from_short_lists() -> None:
    """No label is a node, a Service, an address or a text: the number of series does not grow with a cluster."""
    allowed = {
        *("device", "link", "cluster", "kind", "pool", "result", "action", "operation", "scope", "verb", "trouble"),
        *("credential", "version", "python", "answer"),
        *("method", "code"),  # of NITRO: four verbs, and the few of the vendor's codes that are met
    }
    assert {label for one in KNOWN.values() for label in one.labels} <= allowed


def test_names_carry_their_units() -> None:
    """As Prometheus has it: counters end in _total, times are in seconds, and all is ours by its prefix."""
    for name, one in KNOWN.items():
        assert name.startswith("isthmus_")
        assert (one.type == "counter") == name.endswith("_total")
        assert one.help.endswith(".")
        assert not re.search(r"_(ms|millis|minutes)(_|$)", name)


def test_every_metric_is_documented() -> None:
    """Each stands in the reference, and the guide names none that does not exist."""
    reference = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")
    assert not [name for name in KNOWN if f"`{name}`" not in reference]
    guide = (ROOT / "docs" / "how-to" / "monitor.md").read_text("utf-8")
    assert named(guide)
    assert named(guide) <= SERIES.keys()


@pytest.mark.parametrize("name", ["base/node-agent", "base/controller"])
def test_probes_and_scrapes_ask_where_it_listens(name: str) -> None:
    """Liveness, readiness and Prometheus' annotations name the port that --listen has."""
    for document in documents(name):
        if document["kind"] not in WORKLOADS:
            continue
        template = document["spec"]["template"]
        (container,) = template["spec"]["containers"]
        listen = container["args"][container["args"].index("--listen") + 1]
        port = int(listen.rpartition(":")[2])
        (stated,) = (one for one in container["ports"] if one["name"] == "metrics")
        assert stated["containerPort"] == port
        annotations = template["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(port)
        assert (annotations["prometheus.io/scrape"], annotations["prometheus.io/path"]) == ("true", "/metrics")
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}

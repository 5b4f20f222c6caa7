"""Every figure that this program shows to Prometheus: names, units, labels and help, in one place.

There are two sorts. What *happens* (a request, a pass, a change) is counted where it happens, once per batch and never
once per event of a watch. What *is* (a queue's length, how fresh a watch is) is not kept at all: whoever has it is asked
when somebody scrapes (:class:`Present`), so it costs nothing in between and goes when its object goes.

The one confusing thing: no label ever holds the name of a node or a Service. Labels are devices, links, clusters, pools and
words from short lists, so that the number of series does not grow with the fleet; who is meant, status and ``explain`` say.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import isthmus

disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
REGISTRY = CollectorRegistry()
"""Ours alone; the library's default registry stays empty."""
ProcessCollector(registry=REGISTRY)

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_SIZES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000)
_PATHS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

# --- what happens -------------------------------------------------------------------------------------------------

CONVERGENCE = Histogram(
    "isthmus_convergence_seconds",
    "From the arrival of a cluster's event to the last acknowledged change that it caused on a device; what caused none"
    " is not in it.",
    ("kind",),
    buckets=_LONG,
    registry=REGISTRY,
)
DEVICE_REQUESTS = Histogram(
    "isthmus_device_request_seconds",
    "How long devices take: open, prepare, observe (everything), look (single identities), apply (a whole plan), probe.",
    ("device", "operation", "result"),
    buckets=_QUICK,
    registry=REGISTRY,
)
PASSES = Histogram(
    "isthmus_pass_seconds",
    "How long a pass over a device takes, by what was looked at: everything, or what changed.",
    ("device", "scope"),
    buckets=_QUICK,
    registry=REGISTRY,
)
PLANS = Histogram(
    "isthmus_plan_changes",
    "Changes in a plan that has any.",
    ("device",),
    buckets=_SIZES,
    registry=REGISTRY,
)
CHANGES = Counter(
    "isthmus_changes_total",
    "Changes handed to a device, by action (create, update, delete) and result (done, refused, unknown).",
    ("device", "action", "result"),
    registry=REGISTRY,
)
DRIFT = Counter(
    "isthmus_drift_total",
    "Things of ours that were found different from how we left them.",
    ("device",),
    registry=REGISTRY,
)
TAKEOVERS = Counter(
    "isthmus_vip_takeovers_total",
    "VIPs that a device answers for since another one that shares its segment does not.",
    ("device",),
    registry=REGISTRY,
)
DEVICE_FAILURES = Counter(
    "isthmus_device_failures_total",
    "How often a device as a whole failed, each unsuccessful attempt counted.",
    ("device",),
    registry=REGISTRY,
)
NITRO_REQUESTS = Counter(
    "isthmus_nitro_requests_total",
    "Requests to NetScalers, by method and kind of object (of an action with it); knock is the question whether one that"
    " answered 503 serves again.",
    ("device", "method", "kind"),
    registry=REGISTRY,
)
NITRO_ERRORS = Counter(
    "isthmus_nitro_errors_total",
    "What NetScalers refused, items of bulk requests included, by NITRO's error code, or HTTP status where there was none.",
    ("device", "code"),
    registry=REGISTRY,
)
NITRO_LOGINS = Counter(
    "isthmus_nitro_logins_total",
    "Logins at NetScalers, by result: ok, unreachable, or why not (credentials, full, unavailable ...).",
    ("device", "result"),
    registry=REGISTRY,
)
NITRO_SAVES = Counter(
    "isthmus_nitro_saves_total",
    "Saves of a NetScaler's configuration, by result: ok, unreachable, or why not (busy, full ...).",
    ("device", "result"),
    registry=REGISTRY,
)
API_REQUESTS = Histogram(
    "isthmus_api_request_seconds",
    "How long Kubernetes APIs take to answer (a watch: to begin), by verb; result is ok, an HTTP status, or unreachable.",
    ("cluster", "verb", "result"),
    buckets=_QUICK,
    registry=REGISTRY,
)
WATCH_EVENTS = Counter(
    "isthmus_watch_events_total", "Events that watches delivered.", ("cluster", "kind"), registry=REGISTRY
)
WATCH_LISTS = Counter(
    "isthmus_watch_lists_total",
    "Complete lists; all but the first are relists.",
    ("cluster", "kind"),
    registry=REGISTRY,
)
WATCH_RESTARTS = Counter(
    "isthmus_watch_restarts_total",
    "Watches that were opened again after one ended, in good order or not.",
    ("cluster", "kind"),
    registry=REGISTRY,
)
WATCH_EXPIRED = Counter(
    "isthmus_watch_expired_total",
    "Times an API said 410: our place in its history is gone.",
    ("cluster", "kind"),
    registry=REGISTRY,
)
ROUND_TRIPS = Histogram(
    "isthmus_probe_round_trip_seconds",
    "Round trips of the echo requests that were answered.",
    ("link", "device"),
    buckets=_PATHS,
    registry=REGISTRY,
)
CREDENTIAL_EXPIRY = Gauge(
    "isthmus_credential_expiry_timestamp_seconds",
    "When what we show a cluster's API expires (token, client_certificate), in seconds since the epoch; absent where it"
    " does not say.",
    ("cluster", "credential"),
    registry=REGISTRY,
)
LOOP_LAG = Histogram(
    "isthmus_loop_lag_seconds",
    "How late the event loop got to a task that was due, looked at once a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    registry=REGISTRY,
)
_BUILD = Gauge("isthmus_build_info", "Always 1; what this is.", ("version", "python"), registry=REGISTRY)
_BUILD.labels(isthmus.__version__, platform.python_version()).set(1)


@contextmanager
def device_request(device: str, operation: str) -> Iterator[None]:
    """Measure a request to a device; one that ends in an exception counts as ``error``."""
    began, result = perf_counter(), "error"
    try:
        yield
        result = "ok"
    finally:
        DEVICE_REQUESTS.labels(device, operation, result).observe(perf_counter() - began)


# --- what is ------------------------------------------------------------------------------------------------------


class Family(NamedTuple):
    """A gauge that is read off when somebody scrapes."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


DEVICE_REACHABLE = Family("isthmus_device_reachable", "1 while the device answers.", ("device",))
DEVICE_IN_SYNC = Family("isthmus_device_in_sync", "1 while the device holds exactly what it should.", ("device",))
DEVICE_RESOURCES = Family("isthmus_device_resources", "Things of ours on the device.", ("device",))
DEVICE_CONFLICTS = Family(
    "isthmus_device_conflicts", "Places where something foreign stands where ours should.", ("device",)
)
DEVICE_REFUSALS = Family("isthmus_device_refusals", "Wishes that cannot be served, each with a reason.", ("device",))
DEVICE_HELD = Family(
    "isthmus_device_held_changes",
    "Changes that wait for knowledge, consent or policy, by action (create, update, delete).",
    ("device", "action"),
)
DEVICE_DRIFTED = Family(
    "isthmus_device_drifted",
    "Things that somebody else changed and spec.drift leaves so, by it.",
    ("device", "answer"),
)
DEVICE_UNSAVED = Family(
    "isthmus_device_unsaved",
    "1 while what the device holds cannot be saved and would be lost at a restart; only of devices that are told to save.",
    ("device",),
)
DEVICE_TENURE = Family("isthmus_device_tenure", "1 while this process may write to the device.", ("device",))
LEADER = Family("isthmus_leader", "1 while this process leads; always 1 where there is no election.")
DEVICE_QUEUE = Family("isthmus_device_queue_length", "Keys that wait to be looked at, due or not.", ("device",))
DEVICE_QUEUE_AGE = Family(
    "isthmus_device_queue_oldest_seconds", "For how long the key that waits longest has been due.", ("device",)
)
CLUSTER_QUEUE = Family("isthmus_cluster_queue_length", "Objects that wait to be looked at, due or not.", ("cluster",))
CLUSTER_QUEUE_AGE = Family(
    "isthmus_cluster_queue_oldest_seconds", "For how long the object that waits longest has been due.", ("cluster",)
)
CLUSTER_REACHABLE = Family("isthmus_cluster_reachable", "1 while the cluster's API is followed.", ("cluster",))
WATCH_FRESHNESS = Family(
    "isthmus_watch_freshness_seconds",
    "Seconds since the API last proved that a watch misses nothing; +Inf before the first list.",
    ("cluster", "kind"),
)
WATCH_SYNCED = Family("isthmus_watch_synced", "1 once the first list is complete.", ("cluster", "kind"))
WATCH_OBJECTS = Family("isthmus_watch_objects", "Objects that are known.", ("cluster", "kind"))
LINK_JOINED = Family("isthmus_link_joined_nodes", "Nodes that the device can reach by the link.", ("link", "device"))
PROBE_NODES = Family("isthmus_probe_nodes", "Nodes that have been asked and still count.", ("link", "device"))
PROBE_SILENT = Family(
    "isthmus_probe_silent_nodes",
    "Nodes in trouble: unreachable (no answer at all), mtu (only long packets are lost), pod (the node answers, a pod on"
    " it does not).",
    ("link", "device", "trouble"),
)
PROBE_DEVICE_SILENT = Family(
    "isthmus_probe_nobody_answers", "1 while no node at all answers the device by the link.", ("link", "device")
)
POOL_SIZE = Family("isthmus_pool_addresses", "Addresses that the pool can give.", ("pool",))
POOL_USED = Family("isthmus_pool_used_addresses", "Addresses of the pool that are claimed or reserved.", ("pool",))
POOL_WAITING = Family("isthmus_pool_waiting_services", "Services that wait for an address of the pool.", ("pool",))
CONFIGURATION_PROBLEMS = Family("isthmus_configuration_problems", "Problems in what users wrote.")
GATEWAY_EPOCH = Family(
    "isthmus_gateway_epoch", "The epoch of the newest controller that a gateway's agent has heard."
)
GATEWAY_CONTROLLERS = Family("isthmus_gateway_controllers", "Controllers that listen to a gateway's agent.")
GATEWAY_RECORDED = Family("isthmus_gateway_recorded_resources", "Resources that a gateway's agent would put back.")
READY = Family("isthmus_ready", "1 while /readyz says yes.")

FAMILIES = tuple(value for value in list(vars().values()) if isinstance(value, Family))
"""All of the above, in their order."""

Reading = tuple[Family, tuple[str, ...], float]


class Present(Collector):
    """Asks ``read`` at each scrape for what is now: a family, its label values, a number."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering asks for nothing."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the families that have anything in them."""
        found: dict[str, GaugeMetricFamily] = {}
        for family, labels, value in self._read():
            metric = found.get(family.name)
            if metric is None:
                metric = found[family.name] = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            metric.add_metric(labels, value)
        return found.values()


@contextmanager
def shown(read: Callable[[], Iterable[Reading]]) -> Iterator[None]:
    """Show what ``read`` returns for as long as the ``with`` lasts."""
    present = Present(read)
    REGISTRY.register(present)
    try:
        yield
    finally:
        REGISTRY.unregister(present)


def forget(label: str, value: str) -> None:
    """Drop every series of what happened to ``value`` (a device, a cluster or a link that is gone)."""
    for metric in _happening():
        names = metric._labelnames
        if label in names:
            place = names.index(label)
            for labels in [labels for labels in list(metric._metrics) if labels[place] == value]:
                metric.remove(*labels)


def exposition() -> bytes:
    """Return everything in Prometheus' text format."""
    return generate_latest(REGISTRY)


class Documented(NamedTuple):
    """One metric as the reference shows it."""

    name: str
    type: str
    labels: Sequence[str]
    help: str


def documented() -> list[Documented]:
    """Return every metric of ours, by name."""
    happening = [
        Documented(
            metric._name + ("_total" if metric._type == "counter" else ""),
            str(metric._type),
            metric._labelnames,
            metric._documentation,
        )
        for metric in _happening()
    ]
    return sorted([*happening, *(Documented(one.name, "gauge", one.labels, one.help) for one in FAMILIES)])


def _happening() -> list[MetricWrapperBase]:
    return [value for value in globals().values() if isinstance(value, MetricWrapperBase)]

"""What must be true of everything that we hand out for a cluster: one function for each rule, which yields what breaks it.

A rule sees all objects of one rendered overlay. ``seeded.yaml`` has at least one way to break each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from deploy.manifests import WORKLOADS, pod_of
from deploy.rights import rights
from docs.test_examples import check

Json = dict[str, Any]
Rule = Callable[[list[Json]], Iterator[str]]

AGENT = "isthmus-node"
"""The one workload that works on the host's network."""
OLDER = "citrix-node-controller"
"""The name of what overlays/node-controller-replacement replaces."""


def named(obj: Json) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


def of_kind(objects: Iterable[Json], *kinds: str) -> list[Json]:
    return [one for one in objects if one["kind"] in kinds]


def containers(objects: list[Json]) -> Iterator[tuple[str, Json, Json, Json]]:
    """Yield each container with a name for people, its workload, and its security context over that of the pod."""
    for workload in of_kind(objects, *WORKLOADS):
        pod = pod_of(workload)
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            security = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
            yield f"{named(workload)}, container {container['name']}", workload, container, security


# --- rights ---------------------------------------------------------------------------------------------------------


def no_wildcard(objects: list[Json]) -> Iterator[str]:
    """No right is for everything, and none is for a URL instead of a resource."""
    for role in of_kind(objects, "Role", "ClusterRole"):
        for rule in role["rules"]:
            if any("*" in word for field in ("apiGroups", "resources", "verbs") for word in rule.get(field, ["*"])):
                yield f"{named(role)} has a wildcard: {rule}"
            if "nonResourceURLs" in rule:
                yield f"{named(role)} is for URLs"


def secrets_by_name(objects: list[Json]) -> Iterator[str]:
    """Secrets are read by name, in one namespace, and nothing else is done with them."""
    for right in rights(objects):
        if right.resource.startswith("secrets") and not (right.namespace and right.name and right.verb == "get"):
            where = right.namespace or "all namespaces"
            yield f"{right.role} may {right.verb} Secrets {right.name or 'of any name'} in {where}"


def no_way_to_more_rights(objects: list[Json]) -> Iterator[str]:
    """Nothing that we install can make itself another account, another right or another pod."""
    powers = (
        "pods",
        "serviceaccounts",
        "deployments",
        "daemonsets",
        "customresourcedefinitions",
        "certificatesigningrequests",
    )
    for right in rights(objects):
        if right.verb in ("impersonate", "bind", "escalate") or right.group == "rbac.authorization.k8s.io":
            yield f"{right.role} may {right.verb} {right.resource}"
        if right.resource.partition("/")[0] in powers and right.verb not in ("get", "list", "watch"):
            yield f"{right.role} may {right.verb} {right.resource}"


def bound_to_ours(objects: list[Json]) -> Iterator[str]:
    """A binding is of a role and for an account that stand beside it; no account or role stands idle."""
    accounts = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in of_kind(objects, "ServiceAccount")}
    roles = {
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in of_kind(objects, "Role", "ClusterRole")
    }
    bound, meant = set(), set()
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        reference = binding["roleRef"]
        space = binding["metadata"].get("namespace") if reference["kind"] == "Role" else None
        bound.add((reference["kind"], space, reference["name"]))
        for subject in binding["subjects"]:
            if subject["kind"] != "ServiceAccount":
                yield f"{named(binding)} is for a {subject['kind']}"
            else:
                meant.add((subject["namespace"], subject["name"]))
    yield from (f"nothing of ours is bound by {one}" for one in sorted(bound ^ roles, key=str))
    yield from (f"no account, or no right: {one}" for one in sorted(meant ^ accounts))


# --- pods -----------------------------------------------------------------------------------------------------------


def not_root(objects: list[Json]) -> Iterator[str]:
    """A container runs as a fixed user that is not root; the node agent is root, which NET_ADMIN needs."""
    for place, workload, _, security in containers(objects):
        if workload["metadata"]["name"] != AGENT and not (
            security.get("runAsNonRoot") is True and security.get("runAsUser", 0) >= 10_000
        ):
            yield f"{place} may be root, or whoever the image says"


def shut_in(objects: list[Json]) -> Iterator[str]:
    """A container writes to no file of its image, gains no privilege, and makes only usual system calls."""
    wanted = {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for place, _, _, security in containers(objects):
        if security.get("privileged"):
            yield f"{place} is privileged"
        yield from (f"{place} has no {key}: {value}" for key, value in wanted.items() if security.get(key) != value)


def capabilities_dropped(objects: list[Json]) -> Iterator[str]:
    """All capabilities are dropped; the node agent has NET_ADMIN back."""
    for place, workload, _, security in containers(objects):
        capabilities = security.get("capabilities", {})
        allowed = ["NET_ADMIN"] if workload["metadata"]["name"] == AGENT else []
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add", []) != allowed:
            yield f"{place} has {capabilities}"


def apart_from_the_host(objects: list[Json]) -> Iterator[str]:
    """Only the node agent is on the host's network, and of the host's files it has its own directory."""
    for workload in of_kind(objects, *WORKLOADS):
        pod, agent = pod_of(workload), workload["metadata"]["name"] == AGENT
        if pod.get("hostPID") or pod.get("hostIPC") or bool(pod.get("hostNetwork")) != agent:
            yield f"{named(workload)} is among the host's own, or the agent is not"
        for volume in pod.get("volumes", ()):
            if "hostPath" in volume and not (agent and volume["hostPath"]["path"] == "/var/lib/isthmus-node"):
                yield f"{named(workload)} has the host's {volume['hostPath']['path']}"


def token_on_purpose(objects: list[Json]) -> Iterator[str]:
    """No pod gets an account's token unless its own spec asks, and no pod runs as the default account."""
    for account in of_kind(objects, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{named(account)} gives its token to any pod"
    for workload in of_kind(objects, *WORKLOADS):
        pod = pod_of(workload)
        if (
            pod.get("automountServiceAccountToken") is not True
            or pod.get("serviceAccountName", "default") == "default"
        ):
            yield f"{named(workload)} does not say whose token it wants"


def secrets_by_reference(objects: list[Json]) -> Iterator[str]:
    """No credential is written out in an environment."""
    for place, _, container, _ in containers(objects):
        for variable in container.get("env", ()):
            if any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "SECRET")) and "value" in variable:
                yield f"{place} says {variable['name']} aloud"


def no_strangers_variables(objects: list[Json]) -> Iterator[str]:
    """A Service's variables are not in the environment: one named isthmus-controller would be taken for options of ours."""
    for workload in of_kind(objects, *WORKLOADS):
        if pod_of(workload).get("enableServiceLinks") is not False:
            yield f"{named(workload)} has variables of every Service"


# --- life -----------------------------------------------------------------------------------------------------------


def probed(objects: list[Json]) -> Iterator[str]:
    """Liveness asks /healthz and readiness /readyz, on the port that the command listens on."""
    for place, _, container, _ in containers(objects):
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        arguments = container.get("args", [])
        listen = arguments[arguments.index("--listen") + 1] if "--listen" in arguments else ":0"
        for kind, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            asked = container.get(kind, {}).get("httpGet", {})
            if asked.get("path") != path or ports.get(asked.get("port")) != int(listen.rpartition(":")[2]):
                yield f"{place}: the {kind} asks {asked or 'nothing'}, and it listens on {listen}"


def bounded(objects: list[Json]) -> Iterator[str]:
    """A container says what it needs, and cannot take all memory. CPU is not limited: throttling is delay, and no gain."""
    for place, _, container, _ in containers(objects):
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get(
            "limits", {}
        ):
            yield f"{place} has resources {resources}"
        if "cpu" in resources.get("limits", {}):
            yield f"{place} has its CPU limited"


def important(objects: list[Json]) -> Iterator[str]:
    """A workload says how much others need it, and has the time to end in order."""
    for workload in of_kind(objects, *WORKLOADS):
        pod = pod_of(workload)
        if (
            not pod.get("priorityClassName", "").startswith("system-")
            or pod.get("terminationGracePeriodSeconds", 0) < 10
        ):
            yield f"{named(workload)} has no priority class, or no time to end"


def survives_a_drain(objects: list[Json]) -> Iterator[str]:
    """There are two of every Deployment, apart from each other, and a drain takes one at a time."""
    budgets = [one["spec"] for one in of_kind(objects, "PodDisruptionBudget")]
    for workload in of_kind(objects, "Deployment"):
        spec, labels = workload["spec"], workload["spec"]["template"]["metadata"]["labels"]
        if spec.get("replicas", 1) < 2:
            yield f"{named(workload)} is alone"
        if not any(
            budget.get("maxUnavailable") == 1 and budget["selector"]["matchLabels"].items() <= labels.items()
            for budget in budgets
        ):
            yield f"{named(workload)} has no budget for disruptions"
        spread = [
            one["topologyKey"]
            for one in pod_of(workload).get("topologySpreadConstraints", ())
            if one["labelSelector"]["matchLabels"].items() <= labels.items()
        ]
        if "kubernetes.io/hostname" not in spread:
            yield f"{named(workload)} may be on one node altogether"


def on_every_node(objects: list[Json]) -> Iterator[str]:
    """The agent tolerates every taint, and runs on no Node object that stands for a device."""
    for workload in of_kind(objects, "DaemonSet"):
        pod = pod_of(workload)
        if {"operator": "Exists"} not in pod.get("tolerations", []):
            yield f"{named(workload)} does not tolerate everything"
        terms = (
            pod.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
        )
        unwanted = {"key": "isthmus.dev/device", "operator": "DoesNotExist"}
        if not terms or not all(unwanted in term.get("matchExpressions", []) for term in terms["nodeSelectorTerms"]):
            yield f"{named(workload)} may run on a device"


def of_one_version(objects: list[Json]) -> Iterator[str]:
    """Every image is ours, by a version and not by whatever is latest."""
    from isthmus import __version__

    for place, _, container, _ in containers(objects):
        name, _, tag = container["image"].rpartition(":")
        if name.rpartition("/")[2] != "isthmus" or tag != __version__:
            yield f"{place} runs {container['image']}"


def commands_exist(objects: list[Json]) -> Iterator[str]:
    """A container runs a verb of ours, with options that it knows."""
    for place, _, container, _ in containers(objects):
        try:
            check(place, [str(word) for word in container.get("args", ["-"])])
        except AssertionError as error:
            yield str(error)
        if "command" in container:
            yield f"{place} runs something else than the image's own program"


def in_our_namespaces(objects: list[Json]) -> Iterator[str]:
    """What has a namespace is in one that comes along, but for what stands where it always stood; labels say whose it is.

    In the namespace default are the Events about things without one, and all that takes an older controller's place there.
    """
    made = {one["metadata"]["name"] for one in of_kind(objects, "Namespace")}
    replaces = any(one["metadata"]["name"] == OLDER for one in of_kind(objects, "Deployment"))
    for one in objects:
        meta = one["metadata"]
        space = meta.get("namespace", "")
        if (
            space
            and space not in made
            and not (space == "default" and (replaces or meta["name"] == "isthmus-events"))
        ):
            yield f"{named(one)} is in {space}"
        if (
            one["kind"] != "CustomResourceDefinition"
            and meta.get("labels", {}).get("app.kubernetes.io/part-of") != "isthmus"
        ):
            yield f"{named(one)} does not say that it is part of isthmus"


def guarded_namespaces(objects: list[Json]) -> Iterator[str]:
    """The API server refuses a pod with privileges wherever none of ours needs them."""
    agents = {one["metadata"]["namespace"] for one in of_kind(objects, "DaemonSet")}
    for space in of_kind(objects, "Namespace"):
        wanted = "privileged" if space["metadata"]["name"] in agents else "restricted"
        if space["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != wanted:
            yield f"{named(space)} is not {wanted}"


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        *(no_wildcard, secrets_by_name, no_way_to_more_rights, bound_to_ours),
        *(
            not_root,
            shut_in,
            capabilities_dropped,
            apart_from_the_host,
            token_on_purpose,
            secrets_by_reference,
            no_strangers_variables,
        ),
        *(probed, bounded, important, survives_a_drain, on_every_node),
        *(of_one_version, commands_exist, in_our_namespaces, guarded_namespaces),
    )
}


def broken(objects: list[Json]) -> dict[str, list[str]]:
    """Return the rules that are broken, each with what breaks it."""
    found = {name: list(rule(objects)) for name, rule in RULES.items()}
    return {name: complaints for name, complaints in found.items() if complaints}

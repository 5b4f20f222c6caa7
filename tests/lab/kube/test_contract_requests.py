"""Rubbish in queries, paths and options."""

from __future__ import annotations

from typing import Any

import pytest

from lab.kube.talking import NODES, Client


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("DELETE", f"{NODES}/x", {"preconditions": []}, 500),
        ("DELETE", f"{NODES}/x", {"preconditions": [1]}, 500),
        ("DELETE", f"{NODES}/x", [1], 500),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": []}, 400),
        (
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            {"spec": {"resourceAttributes": [1]}},
            400,
        ),
        ("GET", f"{NODES}?limit=x", None, 400),
        ("GET", f"{NODES}?watch=1&timeoutSeconds=x", None, 400),
        ("GET", f"{NODES}?watch=1&resourceVersion=x", None, 500),
        ("GET", f"{NODES}?continue=e30=", None, 400),
        ("GET", "/api/v1/namespaces/default/configmaps/%2e%2e%2fsecrets", None, 404),
        ("POST", f"{NODES}?dryRun=Some", {}, 422),
        ("POST", f"{NODES}?fieldValidation=Maybe", {}, 422),
    ],
)
async def test_no_request_breaks_the_server(client: Client, method: str, path: str, body: Any, code: int) -> None:
    """Rubbish in queries, paths and options is told apart and refused, by the real server now and then with 500."""
    assert (await client.call(method, path, body))[0] == code

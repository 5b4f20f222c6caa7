"""Start and stop one kube-apiserver with its etcd.

It has what a cluster's API has (TLS, RBAC, an administrator by certificate and by token, tokens of service accounts) and
listens on loopback unless told otherwise. Everything it writes is below one directory.

The confusing thing is how it ends. ``setpriv --pdeathsig`` makes the kernel kill both processes when the *thread* that
started them is gone, so that a killed test run leaves none; therefore they are started from the test's main thread and
never from a pool's.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from isthmus.lab.kube import Endpoint
from kube.authority import Authority

Json = dict[str, Any]

TOKEN = "an-administrator-of-the-tests"
READY_WITHIN = 60.0  # seconds; it takes about four on an idle machine, and there may be none of those
_ATTEMPTS = 3


class DidNotStart(AssertionError):
    """One of the two processes ended or did not become ready; the text has the end of its log."""


@dataclass(slots=True)
class _Program:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class RealApi:
    """One API server; ``start`` and ``stop`` it, or use ``serving`` as the lab's server is used."""

    def __init__(
        self,
        programs: Path,
        directory: Path,
        *,
        service_cidrs: tuple[str, ...] = ("10.96.0.0/16",),
        audited: bool = False,
        streaming_lists: bool = True,
    ) -> None:
        """Prepare to keep everything in ``directory``.

        ``audited``: what service accounts ask for is in ``audit``. Without ``streaming_lists`` clients have to list.
        """
        self._programs = programs
        self._directory = directory
        self._service_cidrs = service_cidrs
        self._audited = audited
        self._streaming_lists = streaming_lists
        self._running: list[_Program] = []
        self._endpoint: Endpoint | None = None
        self._etcd = ""

    @property
    def endpoint(self) -> Endpoint:
        """Return where it listens; only while it runs."""
        assert self._endpoint is not None, "it does not run"
        return self._endpoint

    def start(self, host: str = "127.0.0.1", port: int = 0, names: tuple[str, ...] = ()) -> Endpoint:
        """Start both and return once requests are answered; a port that somebody else took first is tried anew."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._start(host, port, names)
            except DidNotStart as failed:
                self.stop()
                if attempt == _ATTEMPTS - 1 or "address already in use" not in str(failed):
                    raise
        raise AssertionError("not reached")

    def stop(self) -> None:
        """End both and remove what they wrote; it does not matter if they do not run."""
        while self._running:
            self._running.pop().end()
        self._endpoint = None
        shutil.rmtree(self._directory, ignore_errors=True)

    @asynccontextmanager
    async def serving(
        self, host: str = "127.0.0.1", port: int = 0, *, directory: Path | None = None, names: tuple[str, ...] = ()
    ) -> AsyncIterator[Endpoint]:
        """Run while the block runs, with the arguments of the lab's server; ``directory`` is not needed here."""
        try:
            yield self.start(host, port, names)
        finally:
            self.stop()

    def compact(self) -> None:
        """Have etcd forget the past, as kube-apiserver asks it to every five minutes: older versions are expired then."""
        status = self._ask_etcd("maintenance/status", {})
        revision = status["header"]["revision"]
        self._ask_etcd("kv/compaction", {"revision": revision, "physical": True})

    def _ask_etcd(self, path: str, body: Json) -> Json:
        request = urllib.request.Request(f"{self._etcd}/v3/{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            found: Json = json.loads(answer.read())
            return found

    # --- starting -----------------------------------------------------------------------------------------------

    def _start(self, host: str, port: int, names: tuple[str, ...]) -> Endpoint:
        self._directory.mkdir(parents=True, exist_ok=True)
        etcd, peers, secure = _free_ports(3)
        self._etcd = f"http://127.0.0.1:{etcd}"
        self._run(
            "etcd",
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        secure = port or secure
        authority = Authority(self._directory, "kubernetes")
        server = authority.issue("kube-apiserver", host, *names, "127.0.0.1", "::1", "localhost")
        admin = authority.issue("admin", organization="system:masters")
        keys = self._service_account_keys()
        tokens = self._directory / "tokens.csv"
        tokens.write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        self._run(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            f"--bind-address={host}",
            f"--advertise-address={'127.0.0.1' if host.startswith('127.') else host}",
            f"--secure-port={secure}",
            f"--cert-dir={self._directory}",
            f"--tls-cert-file={server.certificate_file}",
            f"--tls-private-key-file={server.key_file}",
            f"--client-ca-file={authority.ca_file}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys}",
            f"--service-account-signing-key-file={keys}",
            f"--service-cluster-ip-range={','.join(self._service_cidrs)}",
            # They wait for controllers that are not there: one makes service accounts, one takes a new node's taint off.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
            *(self._audit_flags() if self._audited else ()),
            *(() if self._streaming_lists else ("--feature-gates=WatchList=false",)),
        )
        shown = f"[{host}]" if ":" in host else host
        url = f"https://{shown}:{secure}"
        context = ssl.create_default_context(cafile=authority.ca_file)
        self._until_ready(url, context)
        self._endpoint = Endpoint(
            url, authority.ca_file, self._kubeconfig(url, authority.ca_file, admin), TOKEN, host, secure
        )
        return self._endpoint

    def audit(self) -> list[Json]:
        """Return an audit event for each answer, in order, that a service account got until now; watches when they begin."""
        return [json.loads(line) for line in (self._directory / "audit.log").read_text().splitlines()]

    def _audit_flags(self) -> tuple[str, ...]:
        policy = self._directory / "audit.json"
        rules = [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}]
        head = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        policy.write_text(json.dumps({**head, "rules": rules}))
        log = self._directory / "audit.log"
        log.touch()
        return (f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-mode=blocking-strict")

    def _run(self, name: str, *arguments: str) -> None:
        log = self._directory / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "--", str(self._programs / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._running.append(_Program(name, process, log))

    def _until_ready(self, url: str, context: ssl.SSLContext) -> None:
        deadline = time.monotonic() + READY_WITHIN
        request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        while True:
            for program in self._running:
                if program.process.poll() is not None:
                    raise DidNotStart(f"{program.name} ended:\n{program.tail()}")
            with suppress(OSError), opener.open(request, timeout=2.0) as answer:
                if answer.status == 200:
                    return
            if time.monotonic() > deadline:
                raise DidNotStart(f"not ready after {READY_WITHIN:g} s:\n{self._running[-1].tail()}")
            time.sleep(0.1)

    def _service_account_keys(self) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        path = self._directory / "service-accounts.key"
        path.write_bytes(
            key.private_bytes(  # no PKCS 8: kube-apiserver reads elliptic keys in their own form only
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return path

    def _kubeconfig(self, url: str, ca_file: Path, admin: Any) -> Path:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": {"server": url, "certificate-authority": str(ca_file)}}],
            "users": [
                {
                    "name": "admin",
                    "user": {
                        "client-certificate": str(admin.certificate_file),
                        "client-key": str(admin.key_file),
                    },
                }
            ],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
            "current-context": "real",
        }
        path = self._directory / "kubeconfig"
        path.write_text(json.dumps(config, indent=2))  # JSON is YAML
        path.chmod(0o600)
        return path


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports

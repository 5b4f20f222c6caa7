"""Who we are on a NetScaler, when that is said in a Secret of the home cluster, or in our own environment.

The Secret is read at the first login and again when the device no longer takes what it said, so a rotated password is found
without a watch: the right to ``get`` that one Secret by its name is all that is needed. The one confusing thing: while we
hold a credential, a home cluster that is away is no reason not to use it.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isthmus.drivers.netscaler.nitro.credentials import Credential, Credentials, DirectoryCredentials, credential_of
from isthmus.drivers.netscaler.nitro.errors import Meaning, NitroError
from isthmus.errors import KubeError, KubeForbidden, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.kinds import SECRETS
from isthmus.model.kinds.netscaler import EnvironmentReference, NetScalerOptions, SecretReference

__all__ = ["EnvironmentCredentials", "SecretCredentials", "netscaler_credentials"]

_LOOK_AGAIN = 5.0
"""Seconds between two looks at a Secret whose password the device does not take."""


def netscaler_credentials(options: NetScalerOptions, home: Connection | None) -> Credentials:
    """Return where the credentials of a NetScaler lie; ``home`` is the home cluster, if there is one."""
    if options.credentials.environment is not None:
        return EnvironmentCredentials(options.credentials.environment)
    if options.credentials.secret is None:
        assert options.credentials.directory is not None, "one of the three is said"
        return DirectoryCredentials(Path(options.credentials.directory))
    return SecretCredentials(options.credentials.secret, home)


class EnvironmentCredentials:
    """Two variables of our own environment, as the old node controller had them; they stay in it and nowhere else."""

    def __init__(self, names: EnvironmentReference, environment: Mapping[str, str] = os.environ) -> None:
        self._names = names
        self._environment = environment

    async def current(self) -> Credential:
        """Return the credential; raise ``NitroError`` that names the variable that is not set."""
        names = (self._names.username, self._names.password)
        for name in names:
            if not self._environment.get(name):
                raise _wrong(f"environment variable {name} is not set")
        return credential_of(f"environment variables {' and '.join(names)}", *(self._environment[n] for n in names))

    async def renewed(self, refused: Credential) -> Credential:
        """Return the same: an environment does not change while a process runs."""
        return await self.current()


class SecretCredentials:
    """The keys username and password of one Secret in the home cluster."""

    def __init__(
        self, secret: SecretReference, home: Connection | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._secret = secret
        self._home = home
        self._clock = clock
        self._held: Credential | None = None
        self._looked = float("-inf")

    async def current(self) -> Credential:
        """Return the credential; raise ``NitroError`` that names the Secret and what is wrong with it."""
        if self._held is None:
            self._held = await self._read()
        return self._held

    async def renewed(self, refused: Credential) -> Credential:
        """Return what the Secret says now, read anew unless that was done seconds ago."""
        if self._held == refused and self._clock() - self._looked >= _LOOK_AGAIN:
            try:
                self._held = await self._read()
            except NitroError:
                return refused  # it is the device that says no; why the Secret cannot be read matters less
        return await self.current()

    async def _read(self) -> Credential:
        place = f"Secret {self._secret.namespace}/{self._secret.name}"
        if self._home is None:
            raise _wrong(f"{place}: there is no home cluster to read it from; name a directory instead")
        self._looked = self._clock()
        try:
            async with KubeClient(self._home) as client:
                found = await client.get(SECRETS, self._secret.name, self._secret.namespace)
        except KubeNotFound:
            raise _wrong(f"{place}: is not there") from None
        except KubeForbidden:
            name = self._secret.name
            raise _wrong(f"{place}: we may not read it; grant get on secrets with resourceNames: [{name}]") from None
        except KubeError as error:
            raise _wrong(f"{place}: {error}") from error
        data = found.get("data")
        texts = [_text(place, data if isinstance(data, dict) else {}, key) for key in ("username", "password")]
        return credential_of(place, *texts)


def _text(place: str, data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise _wrong(f"{place}: has no key {key}")
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _wrong(f"{place}: {key} is not UTF-8 text") from None


def _wrong(text: str) -> NitroError:
    return NitroError(text, meaning=Meaning.CREDENTIALS, retry_after=_LOOK_AGAIN)

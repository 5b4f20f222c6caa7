"""What a user says about a NetScaler: where its management API is, who we are there, and whom we take it for.

Credentials are references, to files or to a Secret: none can be written into an object, so none can leak from one. TLS is
always verified, by the system's CAs, a CA given here, or one certificate by its fingerprint; the only way around it is plain
HTTP, said aloud. Bounds are those of the device where it has some, else of common sense.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from isthmus.model.kinds.duration import Duration, format_duration
from isthmus.model.kinds.kind import Part, Whole, YesNo, rule
from isthmus.model.kinds.names import AbsolutePath, Installation, Name, Namespace
from isthmus.model.kinds.pem import PemCertificate
from isthmus.model.kinds.urls import url_parts
from isthmus.model.kinds.wrong import Wrong

__all__ = ["Credentials", "EnvironmentReference", "MonitorTiming", "Neighbors", "NetScalerOptions", "SecretReference"]

_FINGERPRINT = r"^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$"
_MAC = r"^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$"


Neighbors = Literal["flooded", "joined"]
"""How the device learns the MACs of the nodes in an overlay."""


def _fingerprint(value: str) -> str:
    if not re.fullmatch(_FINGERPRINT, value):
        raise Wrong(
            "is not a SHA-256 fingerprint",
            "write 64 hex digits, as `openssl x509 -noout -fingerprint -sha256` prints them",
        )
    return value.replace(":", "").lower()


def _mac(value: str) -> str:
    if not re.fullmatch(_MAC, value):
        raise Wrong(f'"{value}" is not a MAC', "write it like 02:00:5e:10:00:01")
    if int(value[:2], 16) & 1 or not int(value.replace(":", ""), 16):
        raise Wrong(f"{value} is no one device's MAC", "write the unicast MAC that the device sends from")
    return value.lower()


Fingerprint = Annotated[
    str, AfterValidator(_fingerprint), WithJsonSchema({"type": "string", "pattern": _FINGERPRINT, "maxLength": 95})
]
"""The SHA-256 of a certificate in DER; 64 lower-case hex digits once read."""

_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"


def _variable(value: str) -> str:
    if not re.fullmatch(_VARIABLE, value):
        # Not repeated: whoever mistakes this for the place of the password has written the password.
        raise Wrong("is not the name of an environment variable", "write it like NS_PASSWORD")
    return value


VariableName = Annotated[
    str, AfterValidator(_variable), WithJsonSchema({"type": "string", "pattern": _VARIABLE, "maxLength": 128})
]
"""The name of a variable of the environment."""

UnicastMac = Annotated[
    str, AfterValidator(_mac), WithJsonSchema({"type": "string", "pattern": _MAC, "maxLength": 17})
]


def _between(value: float, least: float, most: float, *at: str) -> None:
    if not least <= value <= most:
        reason = f"{format_duration(value)} is outside {format_duration(least)} to {format_duration(most)}"
        raise Wrong(reason, "write a duration between them", at=at)


class SecretReference(Part):
    """A Secret in the home cluster, with the keys username and password."""

    namespace: Namespace = Field(description="Namespace of the Secret.")
    name: Name = Field(description="Name of the Secret.")


class EnvironmentReference(Part):
    """The variables of the controller's own environment that hold the credentials; nothing else ever holds them."""

    username: VariableName = Field(default="NS_USER", description="Variable with the user name.")
    password: VariableName = Field(default="NS_PASSWORD", description="Variable with the password.")


class Credentials(Part):
    """Who we are on the device: exactly one of directory, secret and environment."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "(has(self.directory) ? 1 : 0) + (has(self.secret) ? 1 : 0) + (has(self.environment) ? 1 : 0) == 1",
            "say exactly one of directory, secret and environment in credentials",
        )
    )

    directory: AbsolutePath | None = Field(
        default=None,
        description="Directory with the files username and password, such as a mounted Secret; read again when they change.",
    )
    secret: SecretReference | None = Field(
        default=None, description="A Secret in the home cluster, read again when the device no longer takes it."
    )
    environment: EnvironmentReference | None = Field(
        default=None,
        description="Variables of the controller's environment, as the old node controller had them; a directory can be "
        "changed without a restart, they cannot.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = {"directory": self.directory, "secret": self.secret, "environment": self.environment}
        said = [name for name, value in ways.items() if value is not None]
        if not said:
            raise Wrong("does not say where the credentials are", "say one of directory, secret and environment")
        if len(said) > 1:
            raise Wrong(f"says {' and '.join(said)}", "keep one of them")
        return self


class MonitorTiming(Part):
    """How the device asks the members of a virtual server whether they answer."""

    interval: Duration = Field(default=5.0, description="Time from one question to the next.")
    timeout: Duration = Field(default=2.0, description="An answer later than this is none.")
    failures: Whole = Field(default=3, ge=1, le=127, description="So many misses in a row take a member out.")

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        _between(self.interval, 0.02, 3600, "interval")
        if not 0.01 <= self.timeout < self.interval:
            raise Wrong(
                f"{format_duration(self.timeout)} is no time, or not shorter than the interval",
                "write less than the interval",
                at=("timeout",),
            )
        return self


class NetScalerOptions(Part):
    """What only the netscaler driver understands."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "(has(self.ca) ? 1 : 0) + (has(self.caFile) ? 1 : 0) + (has(self.certificateSha256) ? 1 : 0) <= 1",
            "say at most one of ca, caFile and certificateSha256",
        )
    )

    urls: tuple[str, ...] = Field(
        min_length=1,
        max_length=2,
        description="The management API, like https://192.0.2.10: one URL, or those of both nodes of an HA pair.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    plain_http: YesNo = Field(
        default=False,
        description="Allow http:// in urls: whoever is on the way can then read the password and change the device.",
    )
    credentials: Credentials = Field(description="Who we are on the device.")
    ca_file: AbsolutePath | None = Field(default=None, description="PEM file with the CA that signs the device.")
    ca: PemCertificate | None = Field(default=None, description="The same CA, as PEM text.")
    certificate_sha256: Fingerprint | None = Field(
        default=None,
        alias="certificateSha256",
        description="SHA-256 of the device's own certificate, in hex; no CA and no host name is looked at then.",
    )
    installation: Installation = Field(
        default="main", description="Marks what is ours: names on the device begin with isth_<installation>_."
    )
    enable_features: YesNo = Field(
        default=False, description="Switch on the features of the device that we need, such as LB."
    )
    neighbors: Neighbors = Field(
        default="flooded",
        description="flooded: the device asks for the nodes' MACs itself; joined: each node gets a static entry.",
    )
    tunnel_mac: UnicastMac | None = Field(
        default=None, description="MAC that the device sends from in our tunnels, if it does not tell it itself."
    )
    check: MonitorTiming | None = Field(
        default=None, description="How members are asked whether they answer; the device's own monitors by default."
    )
    save_after: Duration = Field(
        default=5.0, description="The configuration is saved once nothing has changed for so long."
    )
    timeout: Duration = Field(default=10.0, description="A request without an answer for so long has failed.")
    concurrency: Whole = Field(default=4, ge=1, le=8, description="So many requests at once, at most.")

    @field_validator("urls")
    @classmethod
    def _roots(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for index, url in enumerate(value):
            try:
                parts = url_parts(url, schemes=("https", "http"), example="https://192.0.2.10")
                if parts.path not in ("", "/"):
                    raise Wrong("has a path", f"write {parts.scheme}://{parts.netloc}")
            except Wrong as wrong:
                raise Wrong(wrong.reason, wrong.remedy, at=(index,)) from wrong
        roots = tuple(url.rstrip("/") for url in value)
        if len({root.lower() for root in roots}) != len(roots):
            raise Wrong("names one URL twice", "write the URL of each node of the pair once")
        return roots

    @model_validator(mode="after")
    def _fits(self) -> Self:
        plain = [url.lower().startswith("http://") for url in self.urls]
        if any(plain) and not self.plain_http:
            raise Wrong(
                "is http: anybody on the way could read the password",
                "write https://, or say plainHttp: true if the way there is your own",
                at=("urls", plain.index(True)),
            )
        ways = {"ca": self.ca, "caFile": self.ca_file, "certificateSha256": self.certificate_sha256}
        said = [name for name, given in ways.items() if given is not None]
        if len(said) > 1:
            raise Wrong(f"is given besides {said[0]}", f"keep one of {' and '.join(said)}", at=(said[1],))
        if said and all(plain):
            raise Wrong("has no use without https", "write https:// in urls, or remove it", at=(said[0],))
        _between(self.save_after, 0, 600, "saveAfter")
        _between(self.timeout, 1, 60, "timeout")
        return self

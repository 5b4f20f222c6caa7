"""What ``isthmus gateway`` stands on: becoming a client of a gateway's agent, and seeing whether one still is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from isthmus.drivers.linux.remote.credentials import Credentials, common_name
from isthmus.drivers.linux.remote.enrol import enrol as ask_agent
from isthmus.drivers.linux.remote.private_files import make_private_directory
from isthmus.drivers.linux.remote.tokens import Token
from isthmus.errors import InputError
from isthmus.model.kinds.device import GatewayAgent
from isthmus.model.kinds.parse import parse

__all__ = ["Enrolled", "checked", "enrol", "show"]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate of ours: for which device, under which name, until when, and where it lies."""

    device: str
    name: str
    until: datetime
    folder: Path


async def enrol(token: str, device: str, url: str, name: str, directory: Path, *, place: str) -> Enrolled:
    """Get and keep a certificate for ``device`` at a URL that is ``checked``; no error that is raised repeats the token."""
    parsed = Token.parse(token, place)
    make_private_directory(directory)
    await ask_agent(parsed, url, name, directory, device)
    return show(device, directory)


def show(device: str, directory: Path) -> Enrolled:
    """Return what we are known by at ``device``; raise ``DeviceUnsupported`` if by nothing."""
    credentials = Credentials(directory, device)
    certificate = credentials.certificate()
    return Enrolled(device, common_name(certificate), certificate.not_valid_after_utc, credentials.folder)


def checked(device: str, url: str) -> str:
    """Return the URL as an EdgeDevice would hold it; the same rules for both, and the device's name becomes a folder's."""
    spec = {"driver": "linux", "linux": {"agent": {"url": url}}}
    document = {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "EdgeDevice",
        "metadata": {"name": device},
        "spec": spec,
    }
    for problem in parse(document).problems:
        where = "--url" if "url" in problem.path else "DEVICE"
        raise InputError(f"{where} {url if where == '--url' else device}", problem.reason, problem.remedy)
    return GatewayAgent(url=url).url

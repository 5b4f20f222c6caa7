"""Enrolment: a token works once, for a while, whole, and only with the agent that made it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from isthmus.agents.gateway.authority import Authority
from isthmus.agents.gateway.enrolled import Clients, NameTaken, serial_text
from isthmus.app.gateway_agent import clients, revoke
from isthmus.app.gateway_enrolment import enrol
from isthmus.drivers.linux.remote import exchange
from isthmus.drivers.linux.remote.credentials import Requested
from isthmus.drivers.linux.remote.messages import AskEnrol, encode
from isthmus.drivers.linux.remote.tokens import Token
from isthmus.errors import DeviceError, DeviceRefused, InputError, StateError

from .rig import Rig, opened, running


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


async def test_a_token_lets_one_in_once(rig: Rig) -> None:
    """The second to come with it is refused, and the first works on."""
    token = await asyncio.to_thread(rig.token)
    await rig.enrol("one", token=token)
    with pytest.raises(DeviceRefused, match="wrong, used or expired"):
        await rig.enrol("two", token=token)
    assert list(clients(rig.state)) == ["one"]
    async with opened(await rig.client("one")) as driver:
        assert (await driver.observe()).resources == {}


async def test_of_many_with_one_token_one_comes_in(rig: Rig) -> None:
    """At the same moment, too."""
    token = await asyncio.to_thread(rig.token)
    found = await asyncio.gather(*(rig.enrol(f"c{n}", token=token) for n in range(4)), return_exceptions=True)
    assert sum(1 for one in found if not isinstance(one, BaseException)) == 1
    assert len(clients(rig.state)) == 1


async def test_a_token_expires(rig: Rig) -> None:
    """After its time it is as good as a wrong one."""
    token = await asyncio.to_thread(rig.token, 0.2)
    await asyncio.sleep(0.3)
    with pytest.raises(DeviceRefused, match="wrong, used or expired"):
        await rig.enrol(token=token)
    assert clients(rig.state) == {}


async def test_a_guessed_secret_is_refused_and_leaves_the_token(rig: Rig) -> None:
    """Whoever knows a token's name has nothing; the owner of the token still comes in."""
    token = Token.parse(await asyncio.to_thread(rig.token))
    guess = Token(token.id, "A" * 43, token.ca_fingerprint).text()
    with pytest.raises(DeviceRefused, match="wrong, used or expired"):
        await rig.enrol("guesser", token=guess)
    await rig.enrol("owner", token=token.text())


@pytest.mark.parametrize("cut", [1, 20, 70, 100])
async def test_a_truncated_token_is_recognised_before_anything_is_sent(rig: Rig, cut: int) -> None:
    """It is named for what it is, without being repeated."""
    token = await asyncio.to_thread(rig.token)
    with pytest.raises(InputError, match="not a whole enrolment token") as caught:
        await rig.enrol(token=token[:-cut])
    assert token[10:30] not in str(caught.value)


async def test_the_secret_is_not_sent_to_another_agent(rig: Rig, tmp_path: Path) -> None:
    """A token of one gateway, shown at another's address: the client finds out first, and the token is still good."""
    async with running(tmp_path / "other") as other:
        token = Token.parse(await asyncio.to_thread(rig.token))
        asked: list[str] = []
        original = exchange.Exchange.ask

        async def noted(self: exchange.Exchange, method: str, path: str, *rest: object, **named: object) -> object:
            asked.append(f"{method} {path}")
            return await original(self, method, path, *rest, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exchange.Exchange, "ask", noted)
            with pytest.raises(DeviceRefused, match="secret was not sent"):
                await enrol(token.text(), "gw1", other.url, "c", tmp_path / "c", place="test")
        assert asked == ["GET /v1/enrol"]
        assert not (tmp_path / "c" / "gw1").exists()
        await rig.enrol("c", token=token.text())


async def test_a_directory_that_was_there_keeps_its_mode(rig: Rig, tmp_path: Path) -> None:
    """Whoever names /etc by mistake finds it as it was; where others write, no key is put."""
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    token = await asyncio.to_thread(rig.token)
    await enrol(token, "gw1", rig.url, "c", shared, place="test")
    assert shared.stat().st_mode & 0o777 == 0o755
    assert (shared / "gw1").stat().st_mode & 0o777 == 0o700
    assert (shared / "gw1" / "client.pem").stat().st_mode & 0o777 == 0o600
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(StateError, match="others can write"):
        await enrol(await asyncio.to_thread(rig.token), "gw1", rig.url, "d", open_to_all, place="test")


async def test_a_name_has_one_client(rig: Rig) -> None:
    """A second machine cannot become the first by its name; once that is revoked, it can."""
    await rig.enrol("same")
    with pytest.raises(DeviceRefused, match="called same already"):
        await rig.enrol("same")
    await asyncio.to_thread(revoke, rig.state, "same")
    await rig.enrol("same")
    assert len(clients(rig.state)["same"]) == 1


@pytest.mark.parametrize("name", ["", "../root", "a b", "x" * 65, "-x"])
async def test_a_client_has_a_plain_name(rig: Rig, name: str) -> None:
    """It stands in logs and lists."""
    token = await asyncio.to_thread(rig.token)
    with pytest.raises(DeviceRefused, match="client's name"):
        await enrol(token, "gw1", rig.url, name, rig.folder / "c", place="test")
    await rig.enrol("fine", token=token)  # a bad name does not use the token up


async def test_enrolling_is_limited_by_address(rig: Rig) -> None:
    """Who tries tokens is stopped after a few."""
    body = b'{"name":"x","token":"000000000000","secret":"wrong","csr":"x"}'
    statuses = [(await rig.ask("POST", "/v1/enrol", body, context=rig.context(None)))[0] for _ in range(8)]
    assert statuses[0] == 403
    assert statuses[-1] == 429


async def test_what_is_signed_is_only_the_key(rig: Rig) -> None:
    """A request for a CA, or for another's name, gets a plain client certificate of the agent's making."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admin")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )
    token = Token.parse(await asyncio.to_thread(rig.token))
    body = encode(AskEnrol("modest", token.id, token.secret, csr))
    status, said = await rig.ask("POST", "/v1/enrol", body, context=rig.context(None))
    assert status == 200
    made = x509.load_pem_x509_certificate(said["certificate"].encode())
    assert made.subject.rfc4514_string() == "CN=modest"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_renewal_is_nobody_elses_by_the_name(tmp_path: Path) -> None:
    """A client taken off the list while it renews gets nothing, even if another was enrolled under its name meanwhile."""
    authority, listed = Authority(tmp_path), Clients(tmp_path / "clients.json")
    first, second, third = (
        authority.issue(Requested.new("controller").csr, "controller", timedelta(days=1)) for _ in range(3)
    )
    listed.add("controller", first)
    listed.revoke("controller")
    listed.add("controller", second)
    with pytest.raises(NameTaken):
        listed.add("controller", third, renews=serial_text(first))
    assert [one.serial for one in listed.all()["controller"]] == [serial_text(second)]


async def test_nobody_listening_is_said(rig: Rig) -> None:
    """A wrong port is a matter of reaching, not of tokens."""
    token = await asyncio.to_thread(rig.token)
    await rig.stop()
    with pytest.raises(DeviceError, match="gateway agent at https"):
        await rig.enrol(token=token)

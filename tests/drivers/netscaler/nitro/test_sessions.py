"""Our session: one, opened once however many need it, ended when we go, and no storm of wrong passwords."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.netscaler.nitro.rig import PASSWORD, USER, Given, Hand, appliance, options, talking
from isthmus.drivers.netscaler.nitro import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.drivers.netscaler.nitro.credentials import DirectoryCredentials
from isthmus.drivers.netscaler.nitro.sessions import SESSION_TIMEOUT, token_of
from isthmus.errors import DeviceFenced, DeviceUnreachable
from isthmus.lab.nitro import Refusal, serving
from isthmus.lab.nitro.sessions import Session, Sessions


async def test_a_killed_session_is_renewed_once() -> None:
    """Twenty requests run into the end of the session; one of them logs in, and all are answered."""
    async with talking(concurrency=8) as rig:
        rig.device.sessions.kill_all()
        found = await asyncio.gather(*(rig.nitro.get("vxlan") for _ in range(20)))
        assert found == [[]] * 20
        assert rig.asked("login", "login") == 2
        assert rig.sessions == 1


async def test_a_write_survives_the_end_of_the_session() -> None:
    """The device says that nothing was done, so the write is sent again in the new session."""
    async with talking() as rig:
        rig.device.sessions.kill_all()
        [result] = await rig.nitro.add("vxlan", [{"id": 1}])
        assert result.done
        assert len(await rig.nitro.get("vxlan")) == 1


async def test_facts_are_read_once_per_session() -> None:
    """Another session may mean another release: what was known of the device is read again then, and only then."""
    async with talking() as rig:
        before = rig.nitro.session
        await rig.nitro.get("vxlan")
        assert rig.asked("get", "nsversion") == 1
        rig.device.release = "NetScaler NS14.1: Build 38.53.nc, Date: Mar 19 2025, 03:47:22   (64-bit)"
        rig.device.sessions.kill_all()
        await rig.nitro.get("vxlan")
        assert rig.asked("get", "nsversion") == 2
        assert rig.nitro.release == (14, 1, 38)
        assert rig.nitro.session != before


async def test_an_idle_session_is_ended_by_the_device() -> None:
    """After a minute without a word the device forgets a session that a crash has left."""
    hand = Hand()
    device = appliance(clock=hand)
    async with talking(device) as rig:
        await hand.move(SESSION_TIMEOUT - 1)
        assert rig.sessions == 1
        await hand.move(2)
        assert rig.sessions == 0
        assert await rig.nitro.get("vxlan") == []


async def test_reopening_for_two_minutes() -> None:
    """A device that fails and is opened again all the time never sees more than one session of ours."""
    async with talking() as rig:
        most = 0
        for turn in range(60):
            await rig.nitro.close()
            await rig.nitro.open()
            if turn % 7 == 0:
                rig.device.sessions.kill_all()
            await rig.nitro.get("vxlan")
            most = max(most, rig.sessions)
        assert most == 1


async def test_a_session_that_could_not_be_ended_is_used_again() -> None:
    """A lost logout leaves the session on the device; it is taken up again, not joined by another."""
    async with talking(timeout="1s") as rig:
        rig.device.faults.fail_next(verb="logout", resource="logout", status=500)
        rig.device.faults.delay(1.5, verb="logout", resource="logout")
        await rig.nitro.close()
        assert rig.sessions == 1
        rig.device.faults.clear()
        await rig.nitro.open()
        assert (rig.sessions, rig.asked("login", "login")) == (1, 1)


async def test_crashes_do_not_fill_the_device() -> None:
    """A process that is killed and starts again every eight seconds for two minutes never has more than a few sessions."""
    hand = Hand()
    device = appliance(clock=hand)
    async with serving(device) as endpoint:
        most = 0
        for _ in range(15):
            nitro = Nitro("adc1", options(endpoint.url), Given())
            await nitro.open()
            await nitro._open_wire().close()  # what a kill does: no logout
            most = max(most, len(device.sessions.live()))
            hand.now += 8
        assert most <= 8
        hand.now += SESSION_TIMEOUT
        assert device.sessions.live() == []


async def test_a_device_that_wants_longer_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sessions may not end so soon, the login is tried once more with what such a device takes, and that is kept."""

    def login(self: Sessions, user: str, password: str, timeout: float | None) -> Session:
        if timeout is not None and timeout < 300:
            raise Refusal(1109, "timeout")
        return known(self, user, password, timeout)

    known = Sessions.login
    monkeypatch.setattr(Sessions, "login", login)
    async with talking() as rig:
        assert rig.asked("login", "login") == 2
        rig.device.sessions.kill_all()
        await rig.nitro.get("vxlan")
        assert rig.asked("login", "login") == 3


async def test_a_full_device_is_not_pushed() -> None:
    """Where other administrators have taken all places, we say so and come back later."""
    device = appliance(sessions=2)
    device.sessions.login("nsroot", "nsroot", None)
    device.sessions.login("nsroot", "nsroot", None)
    async with talking(device, opened=False) as rig:
        with pytest.raises(NitroError, match="446") as full:
            await rig.nitro.open()
        assert full.value.meaning is Meaning.FULL
        assert full.value.retry_after == 30
        assert rig.asked("login", "login") == 1


async def test_no_storm_of_wrong_passwords() -> None:
    """A wrong password is tried once, then after pauses that double to minutes, however often somebody asks."""
    hand = Hand()
    async with talking(clock=hand, opened=False) as rig:
        rig.given.password = "wrong-password"
        tried = []
        for second in range(3600):
            before = rig.asked("login", "login")
            with pytest.raises(NitroError, match="name or password are wrong") as refused:
                await rig.nitro.open()
            assert refused.value.meaning is Meaning.CREDENTIALS
            assert refused.value.retry_after is not None
            assert refused.value.retry_after <= 5
            if rig.asked("login", "login") > before:
                tried.append(second)
            hand.now += 1
        assert tried[:5] == [0, 30, 90, 210, 450]
        assert len(tried) <= 12
        assert sum(1 for one in tried if one < 600) <= 5


async def test_the_right_password_is_tried_at_once() -> None:
    """Who corrects the password does not wait for the end of a pause."""
    hand = Hand()
    async with talking(clock=hand, opened=False) as rig:
        rig.given.password = "wrong-password"
        for _ in range(3):
            with pytest.raises(NitroError, match="wrong"):
                await rig.nitro.open()
            hand.now += 40
        rig.given.password = PASSWORD
        await rig.nitro.open()
        assert rig.sessions == 1


async def test_a_rotated_password() -> None:
    """The session lives on while the password changes; the next login uses the new one, and nobody restarted anything."""
    async with talking() as rig:
        rig.device.sessions.users[USER] = "another-Passw0rd"
        rig.given.password = "another-Passw0rd"
        assert await rig.nitro.get("vxlan") == []
        rig.device.sessions.kill_all()
        assert await rig.nitro.get("vxlan") == []
        assert rig.asked("login", "login") == 2


def _write(directory: Path, **files: str) -> None:
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)


async def test_credentials_in_a_directory(tmp_path: Path) -> None:
    """Two files, the line end that an editor leaves behind removed, read again when they are replaced."""
    _write(tmp_path, username=f"{USER}\n", password=f"{PASSWORD}\r\n")
    credentials = DirectoryCredentials(tmp_path)
    found = await credentials.current()
    assert (found.username, found.password) == (USER, PASSWORD)
    assert PASSWORD not in repr(found)
    (tmp_path / "new").write_text("new one")
    (tmp_path / "new").replace(tmp_path / "password")
    assert (await credentials.current()).password == "new one"
    assert (await credentials.renewed(found)).password == "new one"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"username": "a"}, "password: no such file"),
        ({"password": "b"}, "username: no such file"),
        ({"username": "a", "password": "\n"}, "password is empty"),
        ({"username": "", "password": "b"}, "username is empty"),
        ({"username": "a", "password": "secret-b\nsecret-c\n"}, "control characters"),
        ({"username": "a", "password": "x" * 5000}, "longer than any"),
    ],
)
async def test_credentials_that_are_none(tmp_path: Path, files: dict[str, str], words: str) -> None:
    """What is missing or cannot be meant is said with its place, and nothing of its content is."""
    _write(tmp_path, **files)
    with pytest.raises(NitroError, match=words) as wrong:
        await DirectoryCredentials(tmp_path).current()
    assert str(tmp_path) in str(wrong.value)
    assert wrong.value.meaning is Meaning.CREDENTIALS
    assert "secret" not in str(wrong.value)


async def test_a_directory_that_is_filled_later(tmp_path: Path) -> None:
    """A Secret that is mounted late is found by the next look, seconds later; the device has heard of nothing."""
    async with serving(appliance()) as endpoint:
        nitro = Nitro("adc1", options(endpoint.url), DirectoryCredentials(tmp_path / "later"))
        with pytest.raises(NitroError, match="no such file") as missing:
            await nitro.open()
        assert missing.value.retry_after == 5
        _write(tmp_path / "later", username=USER, password=PASSWORD)
        await nitro.open()
        await nitro.close()


async def test_a_new_writer_is_heard_before_each_first_write() -> None:
    """``entered`` runs once in each session before its first write; what it raises keeps the write from going out."""
    entered: list[int] = []
    fenced: list[bool] = []

    async def enter() -> None:
        entered.append(1)
        [made] = await rig.nitro.add("policypatset", [{"name": f"ledger{len(entered)}"}])
        assert made.done
        if fenced:
            raise DeviceFenced("another controller writes to adc1")

    async with talking(entered=enter) as rig:
        await rig.nitro.get("vxlan")
        assert not entered
        await asyncio.gather(*(rig.nitro.add("vxlan", [{"id": number}]) for number in range(1, 6)))
        assert len(entered) == 1
        fenced.append(True)
        rig.device.sessions.kill_all()
        assert len(await rig.nitro.get("vxlan")) == 5
        for _ in range(2):
            with pytest.raises(DeviceFenced):
                await rig.nitro.add("vxlan", [{"id": 9}])
        assert len(await rig.nitro.get("vxlan")) == 5
        assert len(entered) == 3


async def test_a_closed_client_says_so() -> None:
    """Asking a client that is not open is an error of the family, not of the library below."""
    async with talking() as rig:
        await rig.nitro.close()
        with pytest.raises(DeviceUnreachable, match="adc1 is not open"):
            await rig.nitro.get("vxlan")
        await rig.nitro.close()


@pytest.mark.parametrize(
    ("said", "cookies", "token"),
    [
        # telegraf#11478: the body has the session, the first cookie deletes an older one.
        (
            "##8F90AB",
            (
                "SESSID=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT; Max-Age=0; path=/",
                "sessionid=%23%238F90AB; path=/nitro/v1",
            ),
            "##8F90AB",
        ),
        # By the older content type the body is empty, and the cookie all there is.
        (None, ("NITRO_AUTH_TOKEN=%23%238F90AB; path=/nitro/v1",), "##8F90AB"),
        (None, ('NITRO_AUTH_TOKEN="%23%238F90AB"',), "##8F90AB"),
        (None, ("NITRO_AUTH_TOKEN=deleted; path=/",), ""),
        ("", (), ""),
        (17, ("other=1",), ""),
    ],
)
def test_where_a_login_puts_the_session(said: object, cookies: tuple[str, ...], token: str) -> None:
    """In the body, or, with older releases, in a cookie alone; one that is deleted is none."""
    assert token_of(said, cookies) == token

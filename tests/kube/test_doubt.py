"""Nothing disappears on ignorance: empty lists, restored backups, other clusters, lost permissions, dead APIs."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Callable

import pytest
from aiohttp import web

from isthmus.errors import KubeForbidden
from isthmus.kube.belief import Belief, went_back
from isthmus.kube.client import KubeClient
from isthmus.kube.identity import cluster_uid

from .conftest import FAST, Watched
from .stub import StubApi, eventually, status

Start = Callable[..., Watched]


def fill(api: StubApi, count: int) -> None:
    for number in range(count):
        api.put("nodes", f"n{number}")


async def relist(api: StubApi) -> None:
    """Make every watcher list again, by expiring its position."""
    api.version += 1
    api.compact()
    api.version += 1
    api.close_watches()


def whole_lists(api: StubApi) -> int:
    return len([seen for seen in api.requests("list") if seen.query["limit"] == "500"])


async def test_an_empty_list_takes_nothing(api: StubApi, watching: Start) -> None:
    """A relist that shows nothing keeps what was there and says so; the next list with anything in it is believed."""
    fill(api, 3)
    watched = watching()
    await eventually(lambda: api.watchers)
    kept, api.objects["nodes"] = api.objects["nodes"], {}
    await relist(api)
    await eventually(lambda: watched.informer.suspect)
    assert watched.names == {"n0", "n1", "n2"}
    assert "no nodes at all" in (watched.informer.suspect or "")
    assert watched.doubts == [watched.informer.suspect]
    api.objects["nodes"] = {key: value for key, value in kept.items() if key[1] != "n2"}
    await eventually(lambda: watched.informer.suspect is None)
    assert watched.names == {"n0", "n1"}
    assert watched.changes[-1] == {("", "n2")}
    assert watched.doubts[-1] is None


async def test_an_empty_page_is_no_end_of_a_list(api: StubApi, watching: Start) -> None:
    """A page that promised more and is followed by nothing makes no list; the same is asked for in one piece."""
    fill(api, 7)
    api.page = 3
    api.curtailed = True
    watched = watching()
    await eventually(lambda: len(watched.names) == 7)
    assert [seen for seen in api.requests("list") if "limit" not in seen.query]
    api.curtailed = False
    api.delete("nodes", "n6")
    await relist(api)
    await eventually(lambda: watched.names == {f"n{number}" for number in range(6)})
    await eventually(lambda: api.requests("list")[-1].query.get("limit") == "500")  # in pages again


async def test_an_empty_start_is_proven_by_a_later_look(api: StubApi, watching: Start) -> None:
    """What a first list that shows nothing is worth is known once the watch beside it has stayed silent, and not before."""
    watched = watching(timing=dataclasses.replace(FAST, idle_check=0.5))
    await eventually(lambda: api.watchers)
    assert watched.informer.synced.is_set()
    assert not watched.informer.proven
    await eventually(lambda: watched.informer.proven)
    api.put("nodes", "n0")
    await eventually(lambda: watched.names == {"n0"})
    assert watched.informer.proven


async def test_an_event_after_an_empty_list_has_it_listed_again(api: StubApi, watching: Start) -> None:
    """An object that appears shows that the collection lives, so what is still missing is really gone."""
    fill(api, 2)
    watched = watching(timing=dataclasses.replace(FAST, idle_check=60))
    await eventually(lambda: api.watchers)
    api.objects["nodes"] = {}
    await relist(api)
    await eventually(lambda: watched.informer.suspect)
    await eventually(lambda: api.watchers)
    api.put("nodes", "fresh")
    await eventually(lambda: watched.names == {"fresh"})
    assert watched.informer.suspect is None


async def test_an_empty_list_can_be_accepted(api: StubApi, watching: Start) -> None:
    """A person's word ends the doubt: what was held goes, and is told."""
    fill(api, 2)
    watched = watching()
    await eventually(lambda: api.watchers)
    api.objects["nodes"] = {}
    await relist(api)
    await eventually(lambda: watched.informer.suspect)
    watched.informer.accept_empty()
    assert len(watched.informer) == 0
    assert watched.changes[-1] == {("", "n0"), ("", "n1")}
    assert watched.doubts[-1] is None


async def test_a_deleted_event_is_always_believed(api: StubApi, watching: Start) -> None:
    """Held objects leave one by one by DELETED events; with the last one the doubt ends."""
    fill(api, 2)
    watched = watching()
    await eventually(lambda: api.watchers)
    kept, api.objects["nodes"] = api.objects["nodes"], {}
    await relist(api)
    await eventually(lambda: watched.informer.suspect)
    await eventually(lambda: api.watchers)
    for name in ("n0", "n1"):
        api.objects["nodes"] = {("", name): kept["", name]}
        api.delete("nodes", name)
    await eventually(lambda: len(watched.informer) == 0)
    assert watched.informer.suspect is None


async def test_an_empty_cluster_is_believed_at_start(api: StubApi, watching: Start) -> None:
    """Where nothing was known, nothing is a complete answer."""
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    assert watched.informer.suspect is None
    assert watched.changes == []


async def test_a_restored_backup_takes_nothing(api: StubApi, watching: Start) -> None:
    """An API whose resourceVersion went back deletes nothing by its lists, however many follow; updates are taken."""
    fill(api, 2)
    backup, version = copy.deepcopy(api.objects["nodes"]), api.version
    api.put("nodes", "young")
    watched = watching()
    await eventually(lambda: api.watchers)
    api.restore(version, nodes=backup)
    api.close_watches()
    await eventually(lambda: watched.informer.suspect)
    assert watched.names == {"n0", "n1", "young"}
    assert "backup" in (watched.informer.suspect or "")
    api.put("nodes", "n0", spec={"podCIDR": "10.5.0.0/24"})
    await eventually(lambda: watched.informer.get(("", "n0")).pod_cidrs)
    lists = whole_lists(api)
    await relist(api)
    await eventually(lambda: whole_lists(api) > lists and watched.informer.resource_version == str(api.version))
    assert "young" in watched.names, "later lists of a restored API are just as incomplete"
    api.put("nodes", "young")
    await eventually(lambda: watched.informer.suspect is None)
    assert watched.names == {"n0", "n1", "young"}


async def test_a_position_in_the_future_is_noticed(api: StubApi, watching: Start) -> None:
    """After a restore that ended no connection, the silent watch is found out by the version beside it."""
    fill(api, 2)
    watched = watching()
    await eventually(lambda: api.watchers)
    api.version -= 50
    api.history.clear()
    api.frozen = True
    await eventually(lambda: whole_lists(api) == 2)
    api.frozen = False
    await eventually(lambda: watched.informer.resource_version == str(api.version))
    assert watched.informer.suspect is None, "nothing is missing, so nothing is in doubt"


async def test_another_cluster_is_not_ours(api: StubApi, watching: Start, client: KubeClient) -> None:
    """A list of a cluster with another kube-system is not taken at all; when ours is back, it is believed again."""
    fill(api, 2)
    watched = watching(identity=lambda: cluster_uid(client))
    await eventually(lambda: api.watchers)
    ours, uid = api.objects["nodes"], api.uid
    api.uid = "22222222-0000-4000-8000-000000000002"
    api.objects["nodes"] = {}
    api.put("nodes", "n0", spec={"podCIDR": "10.66.0.0/24"})
    api.watchers.clear()
    await relist(api)
    api.reset_watches()
    await eventually(lambda: watched.informer.suspect)
    assert watched.names == {"n0", "n1"}
    assert uid in (watched.informer.suspect or "")
    assert watched.informer.failing
    api.uid = uid
    api.objects["nodes"] = ours
    await eventually(lambda: watched.informer.suspect is None)
    assert watched.names == {"n0", "n1"}
    await eventually(lambda: watched.informer.failing is None)


async def test_another_cluster_can_be_accepted(api: StubApi, watching: Start, client: KubeClient) -> None:
    """A rebuilt cluster under the old address is taken once a person says so."""
    fill(api, 2)
    watched = watching(identity=lambda: cluster_uid(client))
    await eventually(lambda: api.watchers)
    api.uid, api.objects["nodes"] = "22222222-0000-4000-8000-000000000002", {}
    api.put("nodes", "other")
    api.version = 7
    await relist(api)
    await eventually(lambda: watched.informer.suspect)
    watched.informer.accept_empty()
    await eventually(lambda: watched.names == {"other"})
    assert watched.informer.suspect is None


async def test_without_the_identity_no_list_is_believed(api: StubApi, watching: Start) -> None:
    """A cluster that does not say who it is is not synced, and the reason is shown."""

    async def refused() -> str:
        raise KubeForbidden("get namespaces kube-system: 403 Forbidden")

    fill(api, 2)
    watched = watching(identity=refused)
    await eventually(lambda: watched.informer.failing)
    assert "kube-system" in (watched.informer.failing or "")
    assert not watched.informer.synced.is_set()


@pytest.mark.parametrize(("code", "reason"), [(401, "Unauthorized"), (403, "Forbidden"), (500, "InternalError")])
async def test_a_refusing_api_takes_nothing(api: StubApi, watching: Start, code: int, reason: str) -> None:
    """Lost permissions and broken servers leave the store as it was and say why; it heals by itself."""
    fill(api, 2)
    watched = watching()
    await eventually(lambda: api.watchers)
    api.faults.append(lambda seen: status(code, reason, "no"))
    await relist(api)
    await eventually(lambda: watched.informer.failing)
    assert reason in (watched.informer.failing or "")
    assert watched.names == {"n0", "n1"}
    api.objects["nodes"].pop(("", "n1"))
    api.faults.clear()
    await eventually(lambda: watched.names == {"n0"})
    assert watched.informer.failing is None


async def test_an_answer_that_is_no_list_is_not_an_empty_one(api: StubApi, watching: Start) -> None:
    """A middle box that answers 200 with an empty object does not empty the store, nor count as synced."""
    fill(api, 2)
    api.faults.append(lambda seen: web.json_response({}) if seen.verb == "list" else None)
    watched = watching()
    await eventually(lambda: watched.informer.failing)
    assert "no list" in (watched.informer.failing or "")
    assert not watched.informer.synced.is_set()
    api.faults.clear()
    await eventually(watched.informer.synced.is_set)
    assert watched.names == {"n0", "n1"}


def test_versions_compare_as_numbers() -> None:
    """Ninety-nine is before a hundred; a version that is no number proves nothing."""
    assert went_back("99", "100")
    assert not went_back("100", "99")
    assert not went_back("abc", "100")
    assert not went_back("1", "")


def test_the_doubt_after_a_restore_is_sticky() -> None:
    """Later lists of a restored API, newer again, take nothing either; a person's word does."""
    one, two = ("", "n1"), ("", "n2")
    belief = Belief("nodes", highest="100")
    assert belief.judge([one, two], [one], "40") == set()
    assert belief.judge([one, two], [one], "120") == set()
    assert belief.held == {two}
    assert belief.accept() == {two}
    assert belief.judge([one], [two], "130") == {one}


def test_an_empty_list_of_nothing_known_is_no_doubt() -> None:
    """Doubt is about objects that are missing; without any there is none."""
    belief = Belief("nodes", highest="9")
    assert belief.judge([], [], "5") == set()
    assert belief.suspect is None
    assert belief.highest == "5"


async def test_no_task_is_left(api: StubApi, watching: Start) -> None:
    """An informer is one task: nothing else of it runs beside."""
    before = len(asyncio.all_tasks())
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    await eventually(lambda: api.watchers)
    ours = [task for task in asyncio.all_tasks() if "Informer" in str(task.get_coro())]
    assert len(ours) == 1
    assert before >= 1

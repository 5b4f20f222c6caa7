"""Two origins come to one configuration, the same whichever was read first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from isthmus.app.acceptance import acceptances
from isthmus.app.origins import Origin, combined, files_origin
from isthmus.errors import DuplicateOrigin
from isthmus.model.kinds import parse
from isthmus.registry.watch import FileRegistry

API = "isthmus.dev/v1alpha1"


def document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return what a user writes."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def at_home(*documents: dict[str, Any]) -> Origin:
    """Return a home cluster with these objects."""
    objects = [parse(one).object for one in documents]
    good = {one.key: one for one in objects if one is not None}
    return Origin(good, places={key: f"{'/'.join(key)} (home cluster)" for key in good})


async def in_files(directory: Path, *documents: dict[str, Any]) -> Origin:
    """Return what a registry of files with these objects says."""
    for number, one in enumerate(documents):
        (directory / f"{number}.json").write_text(json.dumps(one, indent=1))
    async with FileRegistry(directory, {"memory"}) as registry:
        return files_origin(registry.snapshot())


LINK = document("ClusterLink", "l", {"cluster": "c", "devices": ["d"]})
CLUSTER = document("KubeCluster", "c", {"inCluster": True})
DEVICE = document("EdgeDevice", "d", {"driver": "memory"})


async def test_references_cross_origins(tmp_path: Path) -> None:
    """A link in a file may name a cluster and a device at home: that was a problem of the files alone."""
    files = await in_files(tmp_path, LINK)
    assert files.problems == ()
    found = combined(files, at_home(CLUSTER, DEVICE))
    assert (found.snapshot.problems, found.snapshot.unusable) == ((), {})


async def test_problems_of_files_keep_their_lines(tmp_path: Path) -> None:
    """What is wrong among objects of files is said with the line of the very field, home cluster or not."""
    (problem,) = combined(await in_files(tmp_path, DEVICE, LINK), Origin()).snapshot.problems
    assert str(tmp_path / "1.json:8") in problem.place
    assert problem.place.endswith("ClusterLink/l: spec.cluster")


async def test_problems_at_home_name_the_object(tmp_path: Path) -> None:
    """What is wrong with an object at home is placed by its name and field."""
    (problem,) = combined(await in_files(tmp_path, DEVICE), at_home(LINK)).snapshot.problems
    assert problem.place == "ClusterLink/l (home cluster): spec.cluster"


async def test_a_wrong_object_is_told_from_a_missing_one(tmp_path: Path) -> None:
    """A link at home that names a wrong cluster in a file is told to mend that, not that there is none."""
    files = await in_files(tmp_path, DEVICE, document("KubeCluster", "c", {}))
    found = combined(files, at_home(LINK))
    assert any("KubeCluster c is wrong itself" in str(problem) for problem in found.snapshot.problems)
    answers = acceptances(found, lambda key: False)
    assert (answers["KubeCluster", "c"].reason, answers["ClusterLink", "l"].reason) == ("Invalid", "Unusable")


async def test_of_two_of_one_name_the_file_counts(tmp_path: Path) -> None:
    """The one at home is refused as a duplicate; everything else of it counts for nothing."""
    files = await in_files(tmp_path, DEVICE)
    home = at_home(document("EdgeDevice", "d", {"driver": "memory", "policy": "observe"}))
    found = combined(files, home)
    assert found.snapshot.objects["EdgeDevice", "d"] == files.objects["EdgeDevice", "d"]
    (problem,) = found.snapshot.problems
    assert isinstance(problem, DuplicateOrigin)
    assert set(found.refused) == {("EdgeDevice", "d")}
    assert acceptances(found, lambda key: False)["EdgeDevice", "d"].ok


async def test_of_two_claims_of_one_name_the_store_counts(tmp_path: Path) -> None:
    """A claim at home stands against one in a file."""
    kept = document("VirtualIP", "192.0.2.1", {"address": "192.0.2.1", "reservation": True})
    holder = {"cluster": "c", "namespace": "n", "service": "s"}
    held = document("VirtualIP", "192.0.2.1", {"address": "192.0.2.1", "holder": holder})
    files, home = await in_files(tmp_path, kept, CLUSTER), at_home(held)
    found = combined(files, home)
    assert found.snapshot.objects["VirtualIP", "192.0.2.1"] == home.objects["VirtualIP", "192.0.2.1"]
    assert found.refused == {}
    assert found.from_files == {("KubeCluster", "c")}
    assert any(isinstance(problem, DuplicateOrigin) for problem in found.snapshot.problems)

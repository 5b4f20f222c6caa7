"""Objects come from every file below a directory, and problems say where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import DuplicateOrigin
from isthmus.registry.files import DirectoryReader, load, validate_files
from isthmus.registry.problems import InputWarning

from .writing import pool, write

BAD = """\
apiVersion: isthmus.dev/v1alpha1
kind: ClusterLink
metadata:
  name: lab
spec:
  cluster: no
  devices: [gw1]
  overlay:
    network: 10.0.0.0/24
    networks:
      - 10.200.0.9/24
---
apiVersion: isthmus.dev/v1alpha1
kind: AddressPool
metadata: {name: p}
spec: {ranges: [192.0.2.1]}
"""


def names(directory: Path) -> list[str]:
    """Return the names of the objects in ``directory``."""
    return [located.object.name for located in load(directory).objects]


def test_problems_name_file_line_object_and_field(tmp_path: Path) -> None:
    """A problem says file, line, object, field, reason and way out; the next document is not hurt."""
    file = write(tmp_path / "a.yaml", BAD)
    loaded = load(tmp_path)
    assert sorted(str(problem) for problem in loaded.problems) == [
        f'{file}:11: ClusterLink/lab: spec.overlay.networks[0]: "10.200.0.9/24" has host bits set (write 10.200.0.0/24)',
        f'{file}:6: ClusterLink/lab: spec.cluster: must be text, and reads as a boolean (put it in quotes: "no")',
        f'{file}:9: ClusterLink/lab: spec.overlay.network: no field is called "network" (did you mean networks?)',
    ]
    assert [located.origin for located in loaded.objects] == [f"{file}:13"]
    assert loaded.broken == {("ClusterLink", "lab")}
    assert not loaded.opaque


def test_lists_are_their_items(tmp_path: Path) -> None:
    """A List counts as its items, each on its own."""
    write(tmp_path / "l.json", {"kind": "List", "apiVersion": "v1", "items": [pool("a", "192.0.2.1"), {"kind": "x"}]})
    write(
        tmp_path / "m.yaml",
        {"kind": "AddressPoolList", "apiVersion": "isthmus.dev/v1alpha1", "items": [pool("b", "192.0.2.2")]},
    )
    loaded = load(tmp_path)
    assert [located.object.name for located in loaded.objects] == ["a", "b"]
    assert len(loaded.problems) == 1
    assert loaded.opaque == {tmp_path / "l.json"}


def test_lines_in_lists(tmp_path: Path) -> None:
    """An item of a List has the lines of its own fields, for its own problems and for those it has with others."""
    item = "- apiVersion: isthmus.dev/v1alpha1\n  kind: AddressPool\n  metadata: {{name: {}}}\n  spec:\n    ranges: [{}]\n"
    items = [("a", "192.0.2.0/24"), ("b", "192.0.2.7"), ("c", "192.0.2.7/24")]
    file = write(tmp_path / "l.yaml", "kind: List\nitems:\n" + "".join(item.format(*one) for one in items))
    assert [str(problem).partition(" (")[0] for problem in validate_files([file])] == [
        f'{file}:17: AddressPool/c: spec.ranges[0]: "192.0.2.7/24" has host bits set',
        f"{file}:12: AddressPool/b: spec.ranges: overlaps AddressPool a in 192.0.2.7",
    ]


def test_which_files_count(tmp_path: Path) -> None:
    """Files below the directory count by their ending; hidden ones do not, nor a second name of a file."""
    write(tmp_path / "a.yaml", pool("a", "192.0.2.1"))
    write(tmp_path / "sub" / "deep" / "b.YML", pool("b", "192.0.2.2"))
    write(tmp_path / "c.txt", "not: ours")
    write(tmp_path / ".hidden.yaml", "not: ours")
    write(tmp_path / ".git" / "d.yaml", "not: ours")
    (tmp_path / "zlink.yaml").symlink_to(tmp_path / "a.yaml")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    loaded = load(tmp_path)
    assert [located.object.name for located in loaded.objects] == ["a", "b"]
    assert loaded.problems == ()


def test_configmap_volume(tmp_path: Path) -> None:
    """A mounted ConfigMap shows each object once, before and after the kubelet swaps it."""
    for version, address in (("..2026_1", "192.0.2.1"), ("..2026_2", "192.0.2.2")):
        write(tmp_path / version / "a.yaml", pool("a", address))
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    reader = DirectoryReader(tmp_path, None)
    before = reader.read()
    assert [located.object.name for located in before.objects] == ["a"]
    assert reader.read() is before
    (tmp_path / "..next").symlink_to("..2026_2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    (located,) = reader.read().objects
    assert located.object.document()["spec"] == {"ranges": ["192.0.2.2"]}
    assert located.file == tmp_path / "a.yaml"


def test_same_name_twice(tmp_path: Path) -> None:
    """The first by path counts, and the problem names both places."""
    write(tmp_path / "a.yaml", pool("p", "192.0.2.1"))
    write(tmp_path / "b.yaml", pool("p", "192.0.2.2"))
    loaded = load(tmp_path)
    assert [located.origin for located in loaded.objects] == [f"{tmp_path}/a.yaml:1"]
    (problem,) = loaded.problems
    assert isinstance(problem, DuplicateOrigin)
    assert str(problem) == (
        f"{tmp_path}/b.yaml:1: AddressPool/p: stands also in {tmp_path}/a.yaml:1, which counts (keep one of them)"
    )


def test_a_wrong_first_is_not_replaced_by_a_second(tmp_path: Path) -> None:
    """Where the first of two is wrong, the second does not slip into its place."""
    write(tmp_path / "a.yaml", pool("p"))
    write(tmp_path / "b.yaml", pool("p", "192.0.2.2"))
    loaded = load(tmp_path)
    assert loaded.objects == ()
    assert loaded.broken == {("AddressPool", "p")}
    assert len(loaded.problems) == 2


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A file that is no text and a link to nowhere are problems, and nobody knows what they hold."""
    (tmp_path / "a.yaml").write_bytes(b"a: 1\nb: \xff\n")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "nowhere")
    loaded = load(tmp_path)
    assert [str(problem) for problem in loaded.problems] == [
        f"{tmp_path}/a.yaml:2: is not UTF-8 text (save it as UTF-8)",
        f"{tmp_path}/b.yaml: cannot be read: no such file or directory (what it held before stays)",
    ]
    assert loaded.opaque == {tmp_path / "a.yaml", tmp_path / "b.yaml"}
    assert not load(tmp_path / "gone").readable


def test_quick_changes_are_seen(tmp_path: Path) -> None:
    """A change within one tick of the file system's clock, to the same size, is not missed."""
    file = write(tmp_path / "a.yaml", pool("p", "192.0.2.1"))
    status = file.stat()
    reader = DirectoryReader(tmp_path, None)
    reader.read()
    with file.open("r+") as stream:
        stream.write(file.read_text().replace("192.0.2.1", "192.0.2.2"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    (located,) = reader.read().objects
    assert located.object.document()["spec"]["ranges"] == ["192.0.2.2"]


def test_validate_files(tmp_path: Path) -> None:
    """Files are judged together, warnings told apart, and one file named twice is no duplicate."""
    claim = {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": "198.51.100.1"},
        "spec": {"address": "198.51.100.1", "holder": {"cluster": "c", "namespace": "n", "service": "s"}},
    }
    first = write(tmp_path / "a.yaml", pool("a", "192.0.2.0/24"), claim)
    second = write(tmp_path / "b.conf", pool("b", "192.0.2.7"))
    problems = validate_files([first, second, tmp_path])
    assert [type(problem) is InputWarning for problem in problems] == [False, True]
    assert "overlaps AddressPool a in 192.0.2.7" in str(problems[0])
    assert str(problems[0]).startswith(f"{second}:1: AddressPool/b: spec.ranges: ")
    assert validate_files([write(tmp_path / "c" / "c.yaml", pool("c", "203.0.113.1"))]) == []


def test_windows_line_ends(tmp_path: Path) -> None:
    """A file with a byte order mark and CR LF is read like any other."""
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + BAD.replace("\n", "\r\n").encode())
    assert names(tmp_path) == ["p"]


def test_unreadable_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory we may not read is a problem, what it holds is unknown, and its neighbours are read."""
    locked = write(tmp_path / "sub" / "a.yaml", pool("a", "192.0.2.1")).parent
    write(tmp_path / "z.yaml", pool("z", "192.0.2.2"))
    scandir = os.scandir

    def refusing(path: Path) -> Any:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    loaded = load(tmp_path)
    assert loaded.opaque == {locked}
    assert [located.object.name for located in loaded.objects] == ["z"]
    assert str(loaded.problems[0]) == f"{locked}: cannot be read: permission denied (what it held before stays)"

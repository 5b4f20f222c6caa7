"""``informer-5000``: a list of 5,000 Nodes and 50,000 events that all change something, until the last is in the store.

The reference reads the same with bare aiohttp and msgspec into the same fields, and keeps them in a dict: no comparison,
no doubt, no liveness, no keys told to anybody.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec

from bench.measure import in_turns, profiled, scaled
from bench.row import Row, compared
from isthmus.kube import wire
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.identity import cluster_uid
from isthmus.kube.informer import Informer
from isthmus.kube.parse import NODE, parse_node
from isthmus.model.facts import NodeFacts, ObjectKey


async def measure() -> list[Row]:
    """Return the row."""
    nodes, events = scaled(5000), scaled(50_000)
    # Every event moves a label, so the last one of the last node is known by it.
    last = f"node{(events - 1) % nodes}", f"l{(events - 1) // nodes}"
    async with _server(nodes, events) as url:

        async def ours() -> float:
            done = asyncio.Event()

            def changed(keys: set[ObjectKey]) -> None:
                facts = informer.get(("", last[0]))
                if ("", last[0]) in keys and facts is not None and facts.labels.get("zone") == last[1]:
                    done.set()

            async with KubeClient(Connection(url, name="bench")) as client:
                informer = Informer(client, NODE, on_change=changed, identity=lambda: cluster_uid(client))
                with profiled():
                    began = time.perf_counter()
                    task = asyncio.create_task(informer.run())
                    await done.wait()
                    taken = time.perf_counter() - began
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            return taken

        async def theirs() -> float:
            began = time.perf_counter()
            store = await _bare(url, events)
            taken = time.perf_counter() - began
            if store[last[0]].labels.get("zone") != last[1]:
                raise RuntimeError("the reference did not read to the end")
            return taken

        found = await in_turns(ours, theirs)
    return [
        compared(
            "informer-5000",
            found,
            "s",
            ("≤ 2x", found.ratio <= 2),
            note=f"{nodes} Nodes listed, {events} events; reference: aiohttp and msgspec into the same facts",
        )
    ]


async def _bare(url: str, events: int) -> dict[str, NodeFacts]:
    store: dict[str, NodeFacts] = {}
    page_decoder = msgspec.json.Decoder(wire.Listing[wire.Node])
    line_decoder = msgspec.json.Decoder(wire.Envelope)
    node_decoder = msgspec.json.Decoder(wire.Node)
    async with aiohttp.ClientSession(read_bufsize=1 << 18) as session:
        query = {"limit": "500"}
        while True:
            async with session.get(f"{url}/api/v1/nodes", params=query) as answer:
                page = page_decoder.decode(await answer.read())
            for item in page.items or ():
                store[item.metadata.name] = parse_node(item)
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        async with session.get(f"{url}/api/v1/nodes", params={"watch": "1"}) as answer:
            rest = b""
            while events:
                lines = (rest + await answer.content.readany()).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    item = node_decoder.decode(line_decoder.decode(line).object)
                    store[item.metadata.name] = parse_node(item)
                events -= len(lines)
    return store


@asynccontextmanager
async def _server(nodes: int, events: int) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.apiserver", str(nodes), str(events)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None, "a pipe was asked for"
    assert process.stdout is not None, "a pipe was asked for"
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()

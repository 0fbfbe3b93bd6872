"""
What kdns relies on in an etcd, as one suite: asked of the fake one in memory and of a real one, so that the fake is known to be true.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from kdns.cluster.bodies import Overlong
from kdns.plugins.etcd import gateway
from kdns.plugins.stores.rest import Refusal, RestClient


class Etcd(Protocol):
    """An etcd that a test can change."""

    url: str

    async def put(self, key: str, value: str, lease: int = 0) -> None: ...
    async def delete(self, key: str) -> None: ...
    async def grant(self, seconds: int) -> int: ...
    async def compact(self) -> None: ...


async def ask(client: RestClient, etcd: Etcd, path: str, body: bytes, kind: type[Any]) -> Any:
    """Ask as :class:`kdns.plugins.etcd.store.EtcdStore` does."""
    return gateway.decode(kind, (await client.ask("POST", etcd.url + path, {}, body)).body)


async def check_range(client: RestClient, etcd: Etcd, prefix: bytes) -> None:
    """Keys come in order, with their revisions, page by page at one revision; other keys stay out."""
    name = prefix.decode()
    count = gateway.PAGE + 3
    await etcd.put(name[:-1] + "0", "outside")
    for number in range(count):
        await etcd.put(f"{name}k{number:04}", f"v{number}")
    first = await ask(client, etcd, "/v3/kv/range", gateway.range_request(prefix), gateway.Range)
    assert len(first.kvs) == gateway.PAGE and first.more and first.count == count
    assert first.kvs[1].key == prefix + b"k0001" and first.kvs[1].value == b"v1"
    assert first.kvs[0].mod_revision + 1 == first.kvs[1].mod_revision <= first.header.revision
    await etcd.put(f"{name}k9999", "too late")
    request = gateway.range_request(prefix, first.kvs[-1].key, first.header.revision)
    last = await ask(client, etcd, "/v3/kv/range", request, gateway.Range)
    assert [pair.value for pair in last.kvs] == [b"v500", b"v501", b"v502"] and not last.more
    assert last.header.revision > first.header.revision


async def check_probe(client: RestClient, etcd: Etcd, prefix: bytes) -> None:
    """A probe tells of changes behind a revision, and how many keys there are."""
    await etcd.put(f"{prefix.decode()}a", "1")
    read = await ask(client, etcd, "/v3/kv/range", gateway.range_request(prefix), gateway.Range)
    counted = await ask(client, etcd, "/v3/kv/range", gateway.count_request(prefix), gateway.Range)
    assert (counted.kvs, counted.count, counted.header.revision) == ([], read.count, read.header.revision)
    probe = gateway.probe_request(prefix, read.header.revision)
    quiet = await ask(client, etcd, "/v3/kv/range", probe, gateway.Range)
    assert (quiet.kvs, quiet.count) == ([], read.count)
    await etcd.put(f"{prefix.decode()}b", "2")
    seen = await ask(client, etcd, "/v3/kv/range", probe, gateway.Range)
    assert [pair.key for pair in seen.kvs] == [prefix + b"b"] and seen.count == read.count + 1
    await etcd.delete(f"{prefix.decode()}b")
    gone = await ask(client, etcd, "/v3/kv/range", probe, gateway.Range)
    assert (gone.kvs, gone.count) == ([], read.count) and gone.header.revision == read.header.revision + 2


async def check_watch(
    client: RestClient, etcd: Etcd, prefix: bytes, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    """A watch tells of changes behind its revision and of later ones, with deletions; of a compacted revision it says so."""
    name = prefix.decode()
    await etcd.put(f"{name}old", "0")
    begin = (await ask(client, etcd, "/v3/kv/range", gateway.range_request(prefix), gateway.Range)).header.revision
    await etcd.put(f"{name}a", "1")
    lines: list[gateway.Watched] = []

    def line(data: bytes | Overlong) -> None:
        assert isinstance(data, bytes)
        found = gateway.decode(gateway.Line, data).result
        assert found is not None
        lines.append(found)

    def events() -> list[gateway.Event]:
        return [event for message in lines for event in message.events]

    stream = await client.stream(f"{etcd.url}/v3/watch", gateway.watch_request(prefix, begin))
    reading = stream.read(line, 30.0).addErrback(lambda failure: None)
    await until(lambda: len(events()) == 1)
    assert lines[0].created and not lines[0].events
    lease = await etcd.grant(600)
    await etcd.put(f"{name}b", "2", lease)
    await etcd.delete(f"{name}a")
    await until(lambda: len(events()) == 3)
    first, second, third = events()
    assert (first.type, first.kv.key, first.kv.value) == ("PUT", prefix + b"a", b"1")
    assert (second.kv.key, second.kv.lease) == (prefix + b"b", lease)
    assert (third.type, third.kv.key) == ("DELETE", prefix + b"a")
    assert begin < first.kv.mod_revision < second.kv.mod_revision < third.kv.mod_revision
    reading.cancel()
    stream.close()
    await etcd.compact()
    lines.clear()
    stream = await client.stream(f"{etcd.url}/v3/watch", gateway.watch_request(prefix, begin))
    reading = stream.read(line, 30.0).addErrback(lambda failure: None)
    await until(lambda: any(message.compact_revision > begin for message in lines))
    reading.cancel()
    stream.close()
    try:
        await ask(client, etcd, "/v3/kv/range", gateway.range_request(prefix, b"", begin), gateway.Range)
    except Refusal as refusal:
        assert "compacted" in gateway.failure_text(refusal.body), refusal.body
    else:
        raise AssertionError("a compacted revision was read")


async def check_lease(client: RestClient, etcd: Etcd) -> None:
    """A lease says what it has left; one that does not exist has less than nothing."""
    lease = await etcd.grant(600)
    found = await ask(client, etcd, "/v3/lease/timetolive", gateway.lease_request(lease), gateway.LeaseLeft)
    assert 590 <= found.TTL <= 600 and found.grantedTTL == 600, found
    gone = await ask(client, etcd, "/v3/lease/timetolive", gateway.lease_request(77), gateway.LeaseLeft)
    assert gone.TTL == -1, gone

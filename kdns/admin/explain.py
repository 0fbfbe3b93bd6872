# -*- test-case-name: tests.admin.test_explain -*-
"""
The command ``explain``: how a running server would answer a question, and why.

The reply is the one that the real chain makes (see :mod:`kdns.admin.tracing`), rendered as for a client and parsed again from its bytes.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from ipaddress import ip_address
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from kdns import __version__
from kdns.admin.commands import Arguments, CommandError, Result, flag_of, text_of
from kdns.admin.search_path_report import Step as SearchStep
from kdns.admin.search_path_report import judged, search_steps
from kdns.admin.tracing import Run, Tracer
from kdns.core.answer import Answer
from kdns.core.reply import render_reply
from kdns.core.request import Request, Transport, request_from
from kdns.core.slices import in_slices
from kdns.core.stamps import stand
from kdns.server.assembly import Endpoint
from kdns.server.deadlines import PATIENCE
from kdns.server.service import KdnsService
from kdns.server.sockets import OpenEndpoint
from kdns.server.table import Entry
from kdns.server.table_keys import IPV6, QUERY_HEAD, head_of
from kdns.wire.constants import RD, SERVFAIL, rcode_text, type_number
from kdns.wire.message import MalformedMessage, scan
from kdns.wire.names import MalformedName, from_text, reverse_name, spelled_from_text
from kdns.wire.presentation import flag_texts, record_line
from kdns.wire.query import HEADER, Query, read_query

STEP = 100
"""Entries of the answer table between two looks at the clock: 100 microseconds."""

LOOPBACK = "127.0.0.1"


class Explainer:
    """The command for one server."""

    def __init__(self, server: KdnsService) -> None:
        self._server = server
        self._context = server.context

    async def __call__(self, arguments: Arguments) -> Result:
        """
        ``name`` and ``type``; ``client`` is an IP address to ask as, ``search`` a namespace whose search path to walk, ``listener`` one of
        several, ``forward`` false to ask no upstream, ``tcp`` true to ask over TCP.
        """
        spelled, qtype, absolute = question_of(text_of(arguments, "name"), text_of(arguments, "type"))
        client, local = self._client(text_of(arguments, "client")), ""
        endpoint, opened = self._endpoint(text_of(arguments, "listener"))
        local = endpoint.address or ("::" if ":" in client else LOOPBACK)
        transport = Transport.UDP if endpoint.scheme == "dns" else Transport(endpoint.scheme)
        if flag_of(arguments, "tcp") and transport is Transport.UDP:
            transport = Transport.TCP
        forward = arguments.get("forward", True) is not False
        asking = _Asking(
            self._server, opened, Tracer(self._context, endpoint.label, opened.listener.zones, forward=forward)
        )
        asking.client, asking.local, asking.transport, asking.qtype = client, local, transport, qtype
        search = text_of(arguments, "search").lower()
        known = ""
        if not search and text_of(arguments, "client") and not absolute:
            search, known = asking.namespace_of(client)
        result: Result = {
            "server": {"version": __version__, "pid": os.getpid(), "listener": endpoint.label},
            "listeners": [one.label for one in self._server.endpoints],
            "client": client,
            "transport": transport.value,
        }
        asked: _Asked | None = None
        if search and not absolute:
            result["search"], asked = await self._walk(asking, spelled, search, known)
        result.update(await asking.explained(asked or await asking.run(spelled)))
        return result

    async def _walk(self, asking: _Asking, spelled: bytes, namespace: str, known: str) -> tuple[Result, _Asked]:
        """Go through the search path; what came of it, and the step to explain as a whole."""
        domain = asking.domain()
        if domain is None:
            raise CommandError(
                "no block of this listener has a cluster zone (kubernetes): there is no search path to walk"
            )
        steps: list[SearchStep] = []
        shown: _Asked | None = None
        for name in search_steps(spelled, namespace, domain):
            asked = await asking.run(name)
            step = judged(asked.run)
            steps.append(step)
            if shown is None or step.ends:
                shown = asked
            if step.ends:
                break
        assert shown is not None
        walked: Result = {
            "namespace": namespace,
            "known": known,
            "steps": [step.as_dict() for step in steps],
            "answered": steps[-1].ends,
        }
        return walked, shown

    def _client(self, text: str) -> str:
        try:
            return str(ip_address(text)) if text else LOOPBACK
        except ValueError:
            raise CommandError(f"{text} is no IP address") from None

    def _endpoint(self, wanted: str) -> tuple[Endpoint, OpenEndpoint]:
        endpoints = self._server.endpoints
        if not endpoints:
            raise CommandError("this kdns does not answer queries yet, or not any more")
        for endpoint, opened in endpoints.items():
            if not wanted or wanted in (
                endpoint.label,
                endpoint.address,
                f"{endpoint.address}:{endpoint.port}",
                str(endpoint.port),
            ):
                return endpoint, opened
        raise CommandError(f"there is no listener {wanted}; there are: {', '.join(one.label for one in endpoints)}")


class _Asked(NamedTuple):
    """A question that was traced."""

    run: Run
    request: Request
    """As its block saw it."""

    wire: bytes


class _Asking:
    """One explanation."""

    client = local = ""
    transport = Transport.UDP
    qtype = 1

    def __init__(self, server: KdnsService, opened: OpenEndpoint, tracer: Tracer) -> None:
        self._context = server.context
        self._opened = opened
        self._tracer = tracer

    def request(self, spelled: bytes) -> tuple[Request, bytes]:
        """The query of a stub resolver, parsed and in wire form."""
        wire = HEADER.pack(0, RD, 1, 0, 0, 0) + spelled + self.qtype.to_bytes(2, "big") + b"\x00\x01"
        query = read_query(wire)
        if not isinstance(query, Query):
            raise CommandError("a question for this type is refused before any plugin sees it")
        now = self._context.clock()
        listener = self._opened.listener
        return request_from(query, self.transport, self.client, 0, self.local, now, len(wire), listener), wire

    async def run(self, spelled: bytes) -> _Asked:
        """Trace a question to its end."""
        request, wire = self.request(spelled)
        run, request, done = self._tracer.ask(request)
        if not done.called:
            late = self._context.reactor.callLater(PATIENCE, self._too_late, run, done)
            try:
                await done
            finally:
                if late.active():
                    late.cancel()
        return _Asked(run, request, wire)

    def _too_late(self, run: Run, done: Deferred[Run]) -> None:
        run.given_up = f"no answer within {PATIENCE} s, when clients get SERVFAIL"
        done.cancel()

    async def explained(self, asked: _Asked) -> Result:
        """Everything about one question."""
        run, request, wire = asked
        freshness = {
            link.name: lines
            for block in self._opened.listener.zones.blocks.get(request.zone, [])
            for link in block.links
            if any(step.plugin == link.name for step in run.steps) and (lines := list(link.freshness()))
        }
        return {
            **as_dict(run),
            "table": await in_slices(self._context.reactor, self._held(wire)),
            "fast": self._fast(run),
            "freshness": freshness,
            "degraded": [state.as_dict() for state in self._context.degraded.spoiling(asked_plugins(run))],
            "reply": None if run.held_back else reply_of(request, run),
        }

    def _held(self, query: bytes) -> Generator[None, None, list[Result]]:
        """What the answer tables hold for the name and type of a query, whatever its flags and EDNS."""
        found = []
        wanted = query[12:].lower()
        for table in self._opened.tables:
            for count, (key, entry) in enumerate(table.entries(), 1):
                start = head_of(key)
                if key[start : start + len(wanted)].lower() == wanted:
                    found.append(self._entry(key, entry, query))
                if not count % STEP:
                    yield
        return found

    def _entry(self, key: bytes, entry: Entry, wire: bytes) -> Result:
        now = self._context.clock()
        start = head_of(key) - QUERY_HEAD
        own, plain = self._opened.listener.table_key(wire, self.client), key[start:]
        if start > len(IPV6):
            clients = "clients of this group" if key[:start] == own[:start] else "another group of clients"
        else:
            clients = "IPv6" if start else "IPv4"
        reply: Result = {
            "same": key == own,
            "clients": clients,
            "flags": flag_texts(plain[0] << 8 | plain[1]),
            "edns": bool(plain[8] << 8 | plain[9]),
            "rcode": rcode_text(entry.reply[1] & 15),
            "given": entry.exchange is None,
        }
        if entry.exchange is not None:
            reply["age"] = round(now - entry.exchange.request.arrived, 3)
        if not stand(entry.noted):
            reply["why_not"] = "the data it was made from has changed; the next query asks the plugins"
        elif now >= entry.until:
            reply["why_not"] = "a TTL in it has run out; the next query asks the plugins"
        elif entry.until < float("inf"):
            reply["left"] = round(entry.until - now, 3)
        return reply

    def _fast(self, run: Run) -> bool:
        """Whether the fast path answers the question where the table has no reply."""
        listener = self._opened.listener
        name, qtype = from_text(run.qname), type_number(run.qtype)
        table = next((table for table in self._opened.tables if table.fast is not None), None)
        if table is None or table.fast is None or qtype is None or listener.prefixes is not None:
            return False
        return bool(table.fast.takes(name.lower(), qtype, self._context.clock()))

    # The cluster, where there is one.

    def _cluster_links(self) -> Iterator[Any]:
        for block in self._opened.listener.zones.all_blocks():
            for link in block.links:
                if link.name == "kubernetes":
                    yield link

    def domain(self) -> bytes | None:
        """The domain of the cluster, which search paths end in."""
        return next((link.config.primary for link in self._cluster_links()), None)

    def namespace_of(self, client: str) -> tuple[str, str]:
        """The namespace of the pod with an address, and how that is known; empty when it is not."""
        from kdns.plugins.kubernetes.explaining import namespace_of

        for link in self._cluster_links():
            known = namespace_of(link.cluster.index, ip_address(client).packed)
            if known is not None:
                return known[0].decode("ascii", "backslashreplace"), known[1]
        return "", ""


def question_of(name: str, qtype: str) -> tuple[bytes, int, bool]:
    """
    A question as an operator writes it; an IP address stands for the name of it.

    :return: name, type, and whether the name is a whole one: it ends with a dot, or is an address.
    :raises CommandError: it is none.
    """
    number = type_number(qtype) if qtype else None
    if qtype and number is None:
        raise CommandError(f"there is no record type {qtype}")
    try:
        address = ip_address(name)
    except ValueError:
        pass
    else:
        return reverse_name(address.packed), type_number("PTR") or 0 if number is None else number, True
    try:
        spelled = spelled_from_text(name)
    except (MalformedName, ValueError) as error:
        raise CommandError(f"{name!r} is no domain name: {error}") from None
    if not name:
        raise CommandError("which name?")
    return spelled, 1 if number is None else number, name.endswith(".")


def asked_plugins(run: Run) -> set[str]:
    """The plugins that took part, in questions of plugins, too."""
    inside = (asked_plugins(inner) for step in run.steps for inner in step.inside)
    return {step.plugin for step in run.steps}.union(*inside)


def as_dict(run: Run) -> Result:
    """A run for JSON."""
    return {
        "name": run.qname,
        "type": run.qtype,
        "zone": run.zone,
        "view": run.view,
        "zones": run.zones,
        "steps": [
            {
                "plugin": step.plugin,
                "did": step.did,
                "seconds": round(step.seconds, 6),
                "upstream": step.upstream,
                "notes": [{"text": note.text, "missing": note.missing} for note in step.notes],
                "inside": [as_dict(inner) for inner in step.inside],
            }
            for step in run.steps
        ],
        "unreached": run.unreached,
        "rcode": "" if run.held_back or run.answer is None else rcode_text(run.answer.rcode),
        "records": 0 if run.answer is None else run.answer.answer_count(),
        "error": run.error,
        "missing": run.missing,
        "asked_upstream": run.asked_upstream,
        "held_back": run.held_back,
    }


def reply_of(request: Request, run: Run) -> Result:
    """The message that a client would get, parsed from its wire form."""
    answer = run.answer or Answer(SERVFAIL)
    if answer.silent:
        return {"silent": True}
    try:
        wire = render_reply(request, answer)
        message = scan(wire)
        sections = message.sections()
    except (MalformedMessage, MalformedName) as error:
        return {"broken": str(error)}
    except Exception as error:  # a client gets SERVFAIL then; the operator should know why
        return {"broken": f"{type(error).__name__}: {error}"}
    return {
        "rcode": rcode_text(message.rcode),
        "flags": flag_texts(message.flags),
        "octets": len(wire),
        **{
            name: [list(record_line(record)) for record in section]
            for name, section in zip(("answer", "authority", "additional"), sections, strict=True)
        },
        "ede": [[code, text] for code, text in answer.ede],
        "rotates": answer.rotate is not None,
    }

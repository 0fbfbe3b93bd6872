# -*- test-case-name: tests.cli.test_explain -*-
"""``kdns explain``: how a running server would answer a question, and why, in words for somebody worried and in a hurry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kdns.cli.query_client import Asked, Parser, asked, parse, say, show_json

DESCRIPTION = """\
Ask a running kdns how it would answer NAME, and why: which server block takes the question, what each
plugin does with it, what caches hold, which objects of the cluster are behind it and how fresh they are,
and the reply. For a name that does not exist it says what is missing.

The question goes through the real plugins, but is neither counted nor logged as a query. If the answer
is not in memory the upstreams are really asked (unless --no-forward), and the cache may keep what they say.
"""

EPILOG = """\
examples:
  kdns explain web.shop.svc.cluster.local
  kdns explain _http._tcp.web.shop.svc.cluster.local SRV
  kdns explain 10.96.20.30                    the name of an address
  kdns explain web --search shop              as a pod in namespace shop would look it up
  kdns explain web --from 10.244.1.17         the same, as the pod with that address
  kubectl -n kube-system exec deploy/coredns -- kdns explain web.shop.svc.cluster.local

exit status:
  0  the reply has records    1  it has none    2  wrong usage    3  no kdns could be asked
"""

FOUND, NOT_FOUND = 0, 1


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status."""
    parser = Parser("kdns explain", DESCRIPTION, EPILOG)
    parser.add_argument("name", metavar="NAME", help="a name, with or without its last dot, or an IP address")
    parser.add_argument("type", metavar="TYPE", nargs="?", help="record type; A, or PTR for an IP address")
    parser.add_argument("--from", dest="client", metavar="IP", help="ask as this client (default 127.0.0.1)")
    parser.add_argument("--search", metavar="NS", help="walk the search path of a pod in this namespace")
    parser.add_argument("--at", metavar="ADDRESS", help="ask at this listener, where there are several")
    parser.add_argument("--tcp", action="store_true", help="ask as if over TCP")
    parser.add_argument("--no-forward", action="store_true", help="ask no upstream")
    try:
        parsed = parse(parser, arguments)
        result = asked(
            "kdns explain",
            parsed,
            "explain",
            {
                "name": parsed.name,
                "type": parsed.type or "",
                "client": parsed.client or "",
                "search": parsed.search or "",
                "listener": parsed.at or "",
                "tcp": parsed.tcp,
                "forward": not parsed.no_forward,
            },
        )
    except Asked as end:
        return end.status
    if parsed.json:
        show_json(result)
    else:
        say(text_of(result, parsed.name))
    reply = result.get("reply") or {}
    return FOUND if reply.get("answer") else NOT_FOUND


def text_of(result: dict[str, Any], wanted: str = "") -> Iterator[str]:
    """
    The lines of an explanation.

    :param wanted: the name as it was asked for.
    """
    yield from _heading(result)
    yield ""
    if "search" in result:
        yield from _search(result["search"], wanted)
        yield ""
    elif _is_partial(result, wanted) and not _has_records(result):
        yield "A pod would try this name with its search path too; --search NAMESPACE or --from POD-IP shows that."
        yield ""
    yield from _server(result)
    yield from _table(result)
    yield ""
    yield "Plugins, in the order in which they are asked"
    yield from _steps(result, "  ")
    yield ""
    if result["freshness"]:
        for plugin, lines in result["freshness"].items():
            yield f"How fresh {plugin} is"
            for line in lines:
                yield f"  {line}"
        yield ""
    if result.get("degraded"):
        yield "What is wrong at present, and matters here"
        for state in result["degraded"]:
            yield f"  {state['name']}: {state['text']}"
            yield f"    {state['means']}"
            yield f"    What to do: {state['do']}"
        yield ""
    yield from _reply(result)


def _is_partial(result: dict[str, Any], wanted: str) -> bool:
    """Whether a pod that wants the name would ask for others as well, and one of them may be what is meant."""
    denied = result["rcode"] in ("NXDOMAIN", "NOERROR") or "." not in wanted
    return denied and wanted.count(".") < 5 and not wanted.endswith(".") and not result["name"].endswith(".arpa.")


def _has_records(result: dict[str, Any]) -> bool:
    return bool((result.get("reply") or {}).get("answer"))


def _heading(result: dict[str, Any]) -> Iterator[str]:
    question = f"{result['name']} {result['type']}"
    reply = result["reply"]
    by = f"   (says {_speaker(result['steps'][-1])})" if result["steps"] else ""
    if reply is None:
        yield f"{question}: not known here, an upstream would be asked, and was not (--no-forward)"
    elif reply.get("silent"):
        yield f"{question}: no reply at all{by}"
    elif "broken" in reply:
        yield f"{question}: the reply cannot be made: {reply['broken']}"
    elif reply["rcode"] == "NOERROR" and reply["answer"]:
        values = ", ".join(_value(record) for record in reply["answer"][:4])
        more = f" and {len(reply['answer']) - 4} more" if len(reply["answer"]) > 4 else ""
        yield f"{question}: {values}{more}{by}"
    elif reply["rcode"] == "NOERROR":
        yield f"{question}: the name exists and has no such records (NODATA){by}"
    else:
        yield f"{question}: {reply['rcode']}{by}"
    if result["error"] and reply is not None:
        yield f"  because: {result['error']}"
    if reply is None or not reply.get("answer"):
        for text in _all_missing(result):
            yield f"  because: {text}"


def _speaker(step: dict[str, Any]) -> str:
    return f"{step['plugin']}, {step['upstream']}" if step["upstream"] else str(step["plugin"])


def _all_missing(result: dict[str, Any]) -> Iterator[str]:
    yield from result["missing"]
    for step in result["steps"]:
        for inner in step["inside"]:
            for text in _all_missing(inner):
                yield f"{inner['name']}: {text}"


def _value(record: list[Any]) -> str:
    return f"{record[3]} {record[4]}" if record[3] not in ("A", "AAAA") else str(record[4])


def _search(search: dict[str, Any], wanted: str) -> Iterator[str]:
    known = f" ({search['known']})" if search["known"] else ""
    yield f'The search path of a pod in namespace "{search["namespace"]}"{known}, ndots:5, for "{wanted}"'
    for number, step in enumerate(search["steps"], 1):
        mark = "  <- this answers" if step["ends"] else ""
        yield f"  {number}. {step['name']}  {step['said']}{mark}"
        if not step["ends"]:
            for text in step["missing"]:
                yield f"       {text}"
    if not search["answered"]:
        yield "  No step has an answer. What the node adds to the search path is not known here."
        yield "  Below is the first step."


def _server(result: dict[str, Any]) -> Iterator[str]:
    server = result["server"]
    over = f" over {result['transport'].upper()}"
    yield f"Asked as    {result['client']}{over}, at {server['listener']} (kdns {server['version']}, pid {server['pid']})"
    others = [label for label in result["listeners"] if label != server["listener"]]
    if others:
        yield f"            there are other listeners (--at): {', '.join(others)}"
    view = f", view {result['view']}" if result.get("view") else ""
    if not result["zone"]:
        yield f"Block       none; the zones of this listener are {', '.join(result['zones'])}"
    elif len(result["zones"]) == 1:
        yield f"Block       zone {result['zone']}{view}, the only one of this listener"
    else:
        zones = ", ".join(zone for zone in result["zones"] if zone != result["zone"])
        yield f"Block       zone {result['zone']}{view}, the longest that the name is in (others here: {zones})"


def _table(result: dict[str, Any]) -> Iterator[str]:
    head = "Table       "
    for entry in result["table"]:
        how = f"{entry['clients']}, {'with' if entry['edns'] else 'no'} EDNS, {' '.join(entry['flags']) or 'no flags'}"
        which = "this question" if entry["same"] else f"the same name asked otherwise ({how})"
        text = f"a finished {entry['rcode']} is held for {which}"
        if "age" in entry:
            text += f", {_seconds(entry['age'])} old"
        text += ", given again since" if entry["given"] else ", not given again yet"
        if "why_not" in entry:
            text += f", but {entry['why_not']}"
        else:
            text += f", good for {_seconds(entry['left'])} more" if "left" in entry else ", good until its data changes"
            if entry["same"]:
                text += ": clients get it without the plugins being asked"
        yield head + text
        head = "            "
    if result["fast"]:
        yield head + "such names are answered by the fast path, without asking the plugins"
    elif not result["table"]:
        yield head + "no finished reply is held for this question: the plugins are asked"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _steps(run: dict[str, Any], indent: str) -> Iterator[str]:
    names = [step["plugin"] for step in run["steps"]] + run["unreached"]
    width = max(map(len, names), default=0) + 2
    for step in run["steps"]:
        yield f"{indent}{step['plugin']:<{width}}{step['did']}"
        for note in step["notes"]:
            mark = "! " if note["missing"] else ""
            yield f"{indent}{'':<{width}}  {mark}{note['text']}"
        for inner in step["inside"]:
            said = inner["rcode"] or "not known"
            yield f"{indent}{'':<{width}}  asked inside for {inner['name']} {inner['type']}: {said}{_count(inner['records'])}"
            yield from _steps(inner, f"{indent}{'':<{width}}    ")
    if run["unreached"]:
        yield f"{indent}not reached: {', '.join(run['unreached'])}"
    if not names:
        yield f"{indent}none"


def _count(records: int) -> str:
    return f", {records} record{'s' if records != 1 else ''}" if records else ""


def _reply(result: dict[str, Any]) -> Iterator[str]:
    reply = result["reply"]
    if reply is None or reply.get("silent") or "broken" in reply:
        return
    asked = "; an upstream was asked for this explanation" if result["asked_upstream"] else ""
    yield f"Reply       {reply['rcode']}, flags {' '.join(reply['flags'])}, {reply['octets']} bytes{asked}"
    for code, text in reply["ede"]:
        yield f"            Extended DNS Error {code}{f' ({text})' if text else ''} for clients with EDNS"
    if reply["rotates"]:
        yield "            the addresses take turns in being the first"
    for section in ("answer", "authority", "additional"):
        if reply[section]:
            yield f"  ;; {section.upper()}"
            width = max(len(record[0]) for record in reply[section])
            for owner, ttl, rclass, rtype, rdata in reply[section]:
                yield f"  {owner:<{width}}  {ttl:<6} {rclass} {rtype:<6} {rdata}"

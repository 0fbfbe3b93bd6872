# -*- test-case-name: tests.cli.test_cache -*-
"""``kdns cache list|get|flush``: what the caches of a running server hold, and to make it forget."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from kdns.cli.query_client import Asked, Parser, asked, never, parse, say, show_json

DESCRIPTION = """\
Show or flush what a running kdns holds in memory: the entries of its cache plugins (success and denial),
and the answer table, which holds finished replies in front of all plugins.
"""

EPILOG = """\
examples:
  kdns cache list --zone example.org
  kdns cache list --type AAAA --limit 20
  kdns cache get www.example.org
  kdns cache flush www.example.org
  kdns cache flush --zone example.org
  kdns cache flush --all

columns of a list:
  HELD    success or denial of a cache plugin, or table: a finished reply
  LEFT    seconds until it runs out; "data": until the data it was made from changes; "stale": it ran out
          or its data changed, so it is not given any more but where the Corefile says serve_stale
  AGE     seconds since it came, where that is known
"""

FLUSH = """\
Delete entries of the cache plugins, so that the next query for them gets a fresh answer. The whole answer
table is dropped, too; the next query for each name fills it again.
"""

FOUND, NOTHING = 0, 1

COLUMNS = ("NAME", "TYPE", "HELD", "RCODE", "RECORDS", "LEFT", "AGE", "WHERE")


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status is 1 when there is no such entry."""
    try:
        parsed = parse(_parser(), arguments)
        result = asked("kdns cache", parsed, f"cache.{parsed.what}", _question(parsed))
    except Asked as end:
        return end.status
    if parsed.json:
        show_json(result)
    elif parsed.what == "flush":
        say([flushed(result)])
    else:
        say(listed(result))
    return FOUND if parsed.what == "flush" or result["found"] else NOTHING


def _parser() -> argparse.ArgumentParser:
    parser = Parser("kdns cache", DESCRIPTION, EPILOG)
    words = parser.add_subparsers(
        parser_class=argparse.ArgumentParser, dest="what", metavar="list|get|flush", required=True
    )
    plain = argparse.RawDescriptionHelpFormatter
    one = words.add_parser(
        "list", help="show entries", description="Show entries.", epilog=EPILOG, formatter_class=plain
    )
    one.add_argument("--zone", metavar="Z", help="names in this zone only")
    one.add_argument("--type", metavar="T", help="this record type only")
    one.add_argument("--limit", metavar="N", type=int, default=1000, help="show so many at most (default 1000)")
    two = words.add_parser(
        "get", help="show the entries for a name", description="Show the entries for a name.", formatter_class=plain
    )
    two.add_argument("name", metavar="NAME", help="a name, or an IP address for its PTR record")
    two.add_argument("type", metavar="TYPE", nargs="?", help="record type; all of them when it is not given")
    three = words.add_parser("flush", help="forget entries", description=FLUSH, formatter_class=plain)
    three.add_argument("name", metavar="NAME", nargs="?", help="entries for this name")
    three.add_argument("type", metavar="TYPE", nargs="?", help="of this record type only")
    three.add_argument("--zone", metavar="Z", help="entries for all names in this zone")
    three.add_argument("--all", action="store_true", help="all entries")
    for sub in (one, two, three):
        Parser.common(sub)
        sub.set_defaults(parser=sub)
    return parser


def _question(parsed: argparse.Namespace) -> dict[str, Any]:
    if parsed.what == "list":
        if parsed.limit < 0:
            never(parsed.parser, "--limit must not be negative")
        return {"zone": parsed.zone or "", "type": parsed.type or "", "limit": parsed.limit}
    question = {"name": parsed.name or "", "type": parsed.type or ""}
    if parsed.what == "flush":
        question |= {"zone": parsed.zone or "", "all": parsed.all}
        if (parsed.name is not None) + (parsed.zone is not None) + parsed.all != 1:
            never(parsed.parser, "say what to flush: NAME, --zone Z or --all")
    return question


def listed(result: dict[str, Any]) -> Iterator[str]:
    """The lines of a list."""
    entries = result["entries"]
    if not result["caches"]:
        yield "There is no cache plugin in the Corefile; what follows is of the answer table."
    rows = [COLUMNS, *map(_row, entries)]
    if entries:
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        for row in rows:
            yield "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
    found = result["found"]
    if not found:
        yield "Nothing is held."
    elif found > len(entries):
        yield f"{len(entries)} of {found} entries; --limit shows more"
    else:
        yield f"{found} entr{'y' if found == 1 else 'ies'}"


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    if entry.get("stale"):
        left = "stale"
    elif entry.get("left") is None:
        left = "data"
    else:
        left = f"{entry['left']:.0f} s"
        if entry.get("ttl"):
            left += f" of {entry['ttl']} s"
    age = f"{entry['age']:.0f} s" if entry.get("age") is not None else "-"
    where = entry.get("listener") or f"cache of {entry.get('zone', '')}"
    records = str(entry.get("records", "-"))
    return (entry["name"], entry["type"], entry["held"], entry["rcode"], records, left, age, where)


def flushed(result: dict[str, Any]) -> str:
    """What was flushed, in words."""
    entries, replies = result["flushed"], result["replies"]
    return (
        f"{entries} entr{'y' if entries == 1 else 'ies'} of the cache flushed, "
        f"and {replies} finished repl{'y' if replies == 1 else 'ies'} of the answer table"
    )

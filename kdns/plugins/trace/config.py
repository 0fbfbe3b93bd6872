# -*- test-case-name: tests.plugins.trace.test_config -*-
"""What a Corefile says about tracing, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, parse_float, parse_int, parse_uint, quote

ZIPKIN, OTLP, DATADOG = "zipkin", "otlp", "datadog"

DEFAULTS = {ZIPKIN: "localhost:9411", OTLP: "localhost:4318"}
PATHS = {ZIPKIN: "/api/v2/spans", OTLP: "/v1/traces"}

NO_DATADOG = "kdns does not speak Datadog's own protocol; its agent takes OpenTelemetry, too: trace otlp HOST:4318"

BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Where spans go, and how many may wait."""

    kind: str = ZIPKIN
    url: str = f"http://{DEFAULTS[ZIPKIN]}{PATHS[ZIPKIN]}"
    service: str = "coredns"
    backlog: int = 1000
    """Spans that may wait; over that the oldest are dropped."""

    batch: int = 100
    """Spans that are sent at once, before the interval is over."""

    interval: float = 1.0
    """Seconds after which fewer are sent."""


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """``trace``."""

    export: ExportConfig = ExportConfig()
    every: int = 1
    """Trace every so manyth query; 0: none."""


def parse(tokens: Dispenser) -> TraceConfig:
    """``trace [TYPE] [ENDPOINT] { options }``; of several uses the last values count."""
    config = TraceConfig()
    for _ in tokens.invocations():
        words = tokens.args(0, 2)
        if words:
            kind, endpoint = _kind(tokens, words)
            config = replace(config, export=replace(config.export, kind=kind, url=_url(tokens, kind, endpoint)))
        for option in tokens.block():
            config = _with_option(tokens, config, option)
    return config


def _kind(tokens: Dispenser, words: list[str]) -> tuple[str, str]:
    """Type and endpoint; a single word is the endpoint, unless it is a type."""
    kind = words[0].lower()
    if len(words) == 1 and kind not in (*DEFAULTS, DATADOG):
        return ZIPKIN, words[0]
    if kind == DATADOG:
        raise tokens.error(NO_DATADOG)
    if kind not in DEFAULTS:
        raise tokens.plain_error(f"tracing endpoint type '{kind}' is not supported")
    return kind, words[1] if len(words) > 1 else DEFAULTS[kind]


def _url(tokens: Dispenser, kind: str, endpoint: str) -> str:
    url = endpoint if "://" in endpoint else f"http://{endpoint}{PATHS[kind]}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or any(char.isspace() for char in url):
        raise tokens.error(f"an endpoint is HOST:PORT or an http or https URL, found {quote(endpoint)}")
    return url


def _with_option(tokens: Dispenser, config: TraceConfig, option: str) -> TraceConfig:
    export = config.export
    match option:
        case "every":
            return replace(config, every=tokens.convert(parse_uint, tokens.word()))
        case "service":
            return replace(config, export=replace(export, service=tokens.word()))
        case "client_server":
            for word in tokens.args(0, 1):
                tokens.convert(_boolean, word)
        case "datadog_analytics_rate":
            rate = tokens.convert(parse_float, tokens.word())
            if not 0 <= rate <= 1:
                text = f"datadog analytics rate must be between 0 and 1, '{rate:f}' is not supported"
                raise tokens.plain_error(text)
        case "zipkin_max_backlog_size":
            return replace(config, export=replace(export, backlog=_positive(tokens)))
        case "zipkin_max_batch_size":
            return replace(config, export=replace(export, batch=_positive(tokens)))
        case "zipkin_max_batch_interval":
            interval = tokens.duration()
            if interval <= 0:
                raise tokens.error(f"{option} must be longer than 0s")
            return replace(config, export=replace(export, interval=interval))
        case _:
            raise tokens.unknown_property(
                "every", "service", "client_server", "datadog_analytics_rate",
                "zipkin_max_backlog_size", "zipkin_max_batch_size", "zipkin_max_batch_interval",
            )  # fmt: skip
    return config


def _positive(tokens: Dispenser) -> int:
    option = tokens.val
    number = tokens.convert(parse_int, tokens.word())
    if number < 1:
        raise tokens.error(f"{option} must be at least 1, found {number}")
    return number


def _boolean(text: str) -> bool:
    value = BOOLEANS.get(text if text in ("t", "f") else text.lower())
    if value is None or text not in (text.lower(), text.upper(), text.capitalize()):
        raise BadValue(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")
    return value

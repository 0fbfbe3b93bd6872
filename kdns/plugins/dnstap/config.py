# -*- test-case-name: tests.plugins.dnstap.test_config -*-
"""What a Corefile says about dnstap, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from socket import gethostname

from kdns import __version__
from kdns.core.text import bracketed
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, parse_int, quote, split_host_port

MOST_WRITE_BUFFER = 1024
MOST_QUEUE = 4096
QUEUE_UNIT = 10_000
"""Messages for which a queue of 1 has room."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where messages are read."""

    scheme: str
    """``unix``, ``tcp`` or ``tls``."""

    host: str
    """Of ``unix``, the path."""

    port: int = 0

    def __str__(self) -> str:
        address = self.host if self.scheme == "unix" else f"{bracketed(self.host)}:{self.port}"
        return f"{self.scheme}://{address}"

    @property
    def dialled(self) -> str:
        """As error texts name it: ``tcp 127.0.0.1:6000``."""
        return f"{'unix' if self.scheme == 'unix' else 'tcp'} {str(self).partition('://')[2]}"


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """The stream of messages; server blocks with equal ones share it."""

    endpoint: Endpoint
    listen: bool = False
    """Whether readers connect to kdns; else kdns connects to a reader."""

    write_buffer: int = 1
    """MiB."""

    queue: int = 1
    """Messages that may wait, in units of :data:`QUEUE_UNIT`."""

    skip_verify: bool = False
    certificate: tuple[str, ...] = ()
    """PEM files of a listener: certificate, key, and the authority of its readers if they must have certificates."""


@dataclass(frozen=True, slots=True)
class TapConfig:
    """One ``dnstap``."""

    output: OutputConfig
    full: bool = False
    """Whether messages hold the query and the reply."""

    identity: str = ""
    version: str = f"kdns-{__version__}"
    extra: str = ""


def parse(tokens: Dispenser) -> tuple[TapConfig, ...]:
    """``dnstap [listen] ENDPOINT [full] [WRITEBUF] [QUEUE] { options }``, any number of times."""
    return tuple(_tap(tokens) for _ in tokens.invocations())


def _tap(tokens: Dispenser) -> TapConfig:
    words = tokens.args(1, None)
    listen = words[0] == "listen"
    if listen:
        words = words[1:]
        if not words:
            raise tokens.error("dnstap listen requires an endpoint argument")
    output = OutputConfig(_endpoint(tokens, words[0]), listen)
    full = words[1:2] == ["full"]
    if words[1:2] and not full:
        raise tokens.error(f"dnstap: the word behind the endpoint can only be full, found {quote(words[1])}")
    if words[2:3]:
        output = replace(output, write_buffer=_bounded(tokens, words[2], "TcpWriteBuf", MOST_WRITE_BUFFER, "MiB units"))
    if words[3:4]:
        output = replace(output, queue=_bounded(tokens, words[3], "Queue", MOST_QUEUE, "x10k messages"))
    config = TapConfig(output, full, gethostname())
    for option in tokens.block():
        match option:
            case "identity":
                config = replace(config, identity=tokens.expect_arg())
            case "version":
                config = replace(config, version=tokens.expect_arg())
            case "extra":
                config = replace(config, extra=tokens.expect_arg())
            case "skipverify":
                config = replace(config, output=replace(config.output, skip_verify=True))
            case "tls":
                if not listen:
                    raise tokens.error("tls directive only valid for listeners")
                files = tuple(tokens.remaining_args())
                if not 2 <= len(files) <= 3:
                    raise tokens.error("tls requires cert and key file paths")
                config = replace(config, output=replace(config.output, certificate=files))
            case _:
                raise tokens.unknown_property("identity", "version", "extra", "skipverify", "tls")
    return config


def _endpoint(tokens: Dispenser, word: str) -> Endpoint:
    scheme, mark, rest = word.partition("://")
    if not mark or scheme == "unix":
        return Endpoint("unix", rest if mark else word)
    if scheme not in ("tcp", "tls"):
        raise tokens.error(
            f"dnstap: an endpoint is unix://PATH, tcp://HOST:PORT or tls://HOST:PORT, found {quote(word)}"
        )
    try:
        host, port = split_host_port(rest)
        number = parse_int(port)
    except BadValue as error:
        raise tokens.error(f"dnstap: bad endpoint {quote(word)}: {error}") from None
    if not 0 < number < 65536:
        raise tokens.error(f"dnstap: bad endpoint {quote(word)}: a port is a number from 1 to 65535")
    return Endpoint(scheme, host, number)


def _bounded(tokens: Dispenser, word: str, name: str, most: int, unit: str) -> int:
    try:
        number = parse_int(word)
    except BadValue as error:
        raise tokens.error(f"dnstap: invalid Multiple{name} {quote(word)}: {error}") from None
    if not 1 <= number <= most:
        raise tokens.error(f"dnstap: Multiple{name} must be between 1 and {most} ({unit}): {number}")
    return number

# -*- test-case-name: tests.plugins.proxyproto.test_plugin -*-
"""``proxyproto { options }``: a policy for the listeners of a server block."""

from __future__ import annotations

from dataclasses import replace

from twisted.logger import Logger

from kdns.core.networks import Network
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import ParseError
from kdns.corefile.values import BadValue, parse_cidr, parse_duration, parse_int, quote
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.proxyproto.policy import ProxyConfig, Rule, Senders

log = Logger(namespace="plugin/proxyproto")


class ProxyprotoDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "proxyproto"

    def parse(self, tokens: Dispenser, block: Block) -> ProxyConfig:
        """Read the directive; several uses add up, and the last word of each option counts."""
        config = ProxyConfig()
        for _ in tokens.invocations():
            tokens.args(0)
            for option in tokens.block():
                match option:
                    case "allow":
                        networks = tuple(_network(tokens, word) for word in tokens.remaining_args())
                        config = replace(config, allow=config.allow + networks)
                    case "default":
                        config = replace(config, otherwise=_rule(tokens))
                    case "udp_session_tracking":
                        config = _tracking(tokens, config)
                    case _:
                        raise ParseError(f"unknown option '{option}'", place=tokens.place)
        return config

    def build(self, config: ProxyConfig, builder: BlockBuilder) -> None:
        """Have the block's listeners ask it."""
        builder.proxy = Senders(config, _Complaints(builder))


directive = ProxyprotoDirective()


def _network(tokens: Dispenser, word: str) -> Network:
    try:
        return parse_cidr(word)
    except BadValue as error:
        raise tokens.plain_error(f"{word}: {error}") from None


def _rule(tokens: Dispenser) -> Rule:
    word = tokens.word()
    try:
        return Rule(word.lower())
    except ValueError:
        raise tokens.arg_error() from None


def _tracking(tokens: Dispenser, config: ProxyConfig) -> ProxyConfig:
    duration, *most = tokens.args(1, 2)
    try:
        config = replace(config, session_seconds=parse_duration(duration))
    except BadValue as error:
        text = f"udp_session_tracking: invalid duration {quote(duration)}: {error}"
        raise tokens.plain_error(text) from None
    for word in most:
        try:
            number = parse_int(word)
        except BadValue:
            number = 0
        if number < 1:
            text = f"udp_session_tracking: invalid max sessions {quote(word)}: must be a positive integer"
            raise tokens.plain_error(text)
        config = replace(config, most_sessions=number)
    return config


class _Complaints:
    """Counts datagrams that are dropped, and logs the first, then each time there are ten times as many: a sender can forge any number."""

    def __init__(self, builder: BlockBuilder) -> None:
        self._dropped = builder.context.registry.counter(
            "kdns_proxyproto_dropped_total", "Datagrams that were dropped for a broken PROXY header."
        ).counter()
        self._next = 1

    def __call__(self, client: str, reason: str) -> None:
        """One more."""
        self._dropped.inc()
        if self._dropped.value >= self._next:
            self._next *= 10
            log.warn(
                "dropping invalid Proxy Protocol packet from {client}: {reason}; {number} so far",
                client=client,
                reason=reason,
                number=int(self._dropped.value),
            )

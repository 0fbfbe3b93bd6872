# -*- test-case-name: tests.plugins.dnstap -*-
"""``dnstap [listen] ENDPOINT [full] ...``: tell another program of each query and reply, in the dnstap format."""

from __future__ import annotations

from typing import Any

from kdns.corefile.errors import SetupError
from kdns.plugin import Block, BlockBuilder, Dispenser
from kdns.plugins.dnstap.config import OutputConfig, TapConfig, parse

SECURED = "TLS listener requires cert and key files"


class DnstapDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "dnstap"

    def parse(self, tokens: Dispenser, block: Block) -> tuple[TapConfig, ...]:
        """See :func:`kdns.plugins.dnstap.config.parse`."""
        return parse(tokens)

    def build(self, config: tuple[TapConfig, ...], builder: BlockBuilder) -> None:
        """
        Add link and observer; streams that did not change are carried over.

        :raises SetupError: a certificate cannot be used.
        """
        from kdns.plugins.dnstap.tap import Tap, TapLink, TapObserver

        context = builder.context
        taps = tuple(Tap(one, _output(one.output, builder)) for one in config)
        builder.link(TapLink(taps, context))
        builder.observe(TapObserver(taps, context))


def _output(config: OutputConfig, builder: BlockBuilder) -> Any:
    from kdns.plugins.dnstap.outputs import Acceptor, Dialler

    context = builder.context
    key = ("dnstap", config)
    if not config.listen:
        return builder.keep(key, config, lambda: Dialler(config, context, _client_tls(config)))
    if context.processes > 1:
        text = f"dnstap listen {config.endpoint}: readers would see one of {context.processes} worker processes alone; let kdns connect"
        raise SetupError(text, plugin="dnstap")
    tls = _server_tls(config, builder)
    return builder.keep(key, config, lambda: Acceptor(config, context, tls))


def _client_tls(config: OutputConfig) -> Any:
    if config.endpoint.scheme != "tls":
        return None
    if config.skip_verify:
        from kdns.plugins.dnstap.outputs import Unverified

        return Unverified()
    from kdns.plugins.forward.config import NO_FILES
    from kdns.plugins.forward.tls import TlsMaker

    return TlsMaker(NO_FILES).creator(config.endpoint.host)


def _server_tls(config: OutputConfig, builder: BlockBuilder) -> Any:
    if config.endpoint.scheme != "tls":
        return None
    if not config.certificate:
        raise SetupError(SECURED, plugin="dnstap")
    from kdns.plugins.tls.certificates import BadCertificate, ServerCertificate
    from kdns.plugins.tls.config import ClientAuth, TlsConfig

    certificate, key, *authority = config.certificate
    auth = ClientAuth.NONE
    if authority:
        auth = ClientAuth.VERIFY_IF_GIVEN if config.skip_verify else ClientAuth.REQUIRE_AND_VERIFY
    files = TlsConfig(certificate, key, "".join(authority), auth)
    try:
        return builder.keep(("tls", files), files, lambda: ServerCertificate(builder.context, files))
    except BadCertificate as error:
        raise SetupError(str(error), plugin="dnstap") from error


directive = DnstapDirective()

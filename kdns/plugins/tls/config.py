# -*- test-case-name: tests.plugins.tls.test_config -*-
"""``tls CERTIFICATE KEY [AUTHORITY]`` with its options. Certificates from an ACME authority are refused: kdns does not ask for any."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

from kdns.corefile.errors import SetupError
from kdns.plugin import Block, BlockBuilder, Dispenser
from kdns.plugins.tls.certificates import BadCertificate, ServerCertificate

NO_ACME = (
    "kdns does not get certificates by ACME; have another program renew them, and name their files: tls CERTIFICATE KEY"
)


class ClientAuth(Enum):
    """What is asked of clients; the value is the word of the option."""

    NONE = "nocert"
    REQUEST = "request"
    REQUIRE = "require"
    VERIFY_IF_GIVEN = "verify_if_given"
    REQUIRE_AND_VERIFY = "require_and_verify"

    @property
    def asks(self) -> bool:
        """Whether a client is asked for a certificate."""
        return self is not ClientAuth.NONE

    @property
    def requires(self) -> bool:
        """Whether a client without one is turned away."""
        return self in (ClientAuth.REQUIRE, ClientAuth.REQUIRE_AND_VERIFY)

    @property
    def verifies(self) -> bool:
        """Whether one that comes must be of a trusted authority."""
        return self in (ClientAuth.VERIFY_IF_GIVEN, ClientAuth.REQUIRE_AND_VERIFY)


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Paths of PEM files, and what is asked of clients."""

    certificate: str
    key: str
    authority: str = ""
    """Whose certificates clients may have; empty: the system's authorities."""

    client_auth: ClientAuth = ClientAuth.NONE
    key_log: str = ""
    """The file that session keys are written to; empty for none."""


class TlsDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "tls"

    def parse(self, tokens: Dispenser, block: Block) -> TlsConfig:
        """Of several, the last counts."""
        config: TlsConfig | None = None
        for _ in tokens.invocations():
            files = tokens.args(0, 3)
            if not files:
                raise self._acme(tokens)
            if len(files) == 1:
                raise tokens.arg_error()
            client_auth, key_log = ClientAuth.NONE, ""
            for option in tokens.block():
                if option == "client_auth":
                    client_auth = self._client_auth(tokens)
                elif option == "keylog":
                    key_log = os.path.abspath(os.path.join(block.root, tokens.word()))
                else:
                    raise tokens.error(f"unknown option '{option}'")
            if key_log and not os.path.isdir(os.path.dirname(key_log)):
                text = f'unable to write TLS Key Log to "{key_log}": open {key_log}: no such file or directory'
                raise tokens.error(text)
            certificate, key, *authority = (os.path.join(block.root, file) for file in files)
            config = TlsConfig(certificate, key, "".join(authority), client_auth, key_log)
        assert config is not None, "a directive stands there at least once"
        return config

    def _acme(self, tokens: Dispenser) -> SetupError:
        for option in tokens.block():
            if option == "acme" and tokens.args(1, None):
                return tokens.plain_error(NO_ACME)
            tokens.remaining_args()
        return tokens.plain_error("ACME requires at least one domain")

    def _client_auth(self, tokens: Dispenser) -> ClientAuth:
        word = tokens.word()
        try:
            return ClientAuth(word)
        except ValueError:
            raise tokens.error(f"unknown authentication type '{word}'") from None

    def build(self, config: TlsConfig, builder: BlockBuilder) -> None:
        """Read the files, and have the block's encrypted listeners show the certificate."""
        try:
            builder.tls = builder.keep(("tls", config), config, lambda: ServerCertificate(builder.context, config))
        except BadCertificate as error:
            raise SetupError(str(error), plugin=self.name, located=False) from error


directive = TlsDirective()

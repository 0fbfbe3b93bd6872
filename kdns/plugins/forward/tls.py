# -*- test-case-name: tests.plugins.forward.test_streams -*-
"""
The TLS side of connections to upstreams, made once for each stanza and server name. Certificates are always verified.

Making a context loads all trusted certificates, which costs milliseconds and memory, so it is never done for each connection.
"""

from __future__ import annotations

import re
from typing import Any

from OpenSSL.crypto import FILETYPE_PEM
from OpenSSL.SSL import Error
from twisted.internet import ssl

from kdns.core.config_files import read_config_file
from kdns.core.tls_identity import NameCheckedCreator
from kdns.plugins.forward.config import TlsFiles

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class TlsMaker:
    """
    Makes the TLS side of connections.

    :raises OSError: a file cannot be read.
    :raises ValueError: a file holds no certificate or key.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._trust: Any = ssl.platformTrust()
        self._client: Any = None
        self._chain: list[Any] = []
        self._creators: dict[tuple[str, tuple[bytes, ...]], Any] = {}
        try:
            if files.authority:
                self._trust = ssl.trustRootFromCertificates(_certificates(files.authority))
            if files.certificate:
                first, *chain = _certificates(files.certificate)
                pair = ssl.KeyPair.load(read_config_file(files.key), FILETYPE_PEM)
                self._client = ssl.PrivateCertificate.fromCertificateAndKeyPair(first, pair)
                self._chain = [certificate.original for certificate in chain]
        except Error as error:
            raise ValueError(f"tls: {error}") from error
        except Exception as error:
            if isinstance(error, (OSError, ValueError)):
                raise
            raise ValueError(f"tls: no usable certificate or key: {error!r}") from error

    def creator(self, name: str, protocols: tuple[bytes, ...] = ()) -> Any:
        """
        The TLS side for upstreams that must show a certificate for *name*, a host name or an IP address; the same one each time.

        It is an ``IOpenSSLClientConnectionCreator``.

        :param protocols: what to offer to speak, best first (RFC 7301).
        :raises ValueError: no certificate can be for *name*.
        """
        made = self._creators.get((name, protocols))
        if made is None:
            extra = {"extraCertChain": self._chain} if self._chain else None
            options = ssl.optionsForClientTLS(
                name,
                trustRoot=self._trust,
                clientCertificate=self._client,
                acceptableProtocols=list(protocols) or None,
                extraCertificateOptions=extra,
            )
            made = self._creators[name, protocols] = NameCheckedCreator(options, name)
        return made


def _certificates(path: str) -> list[Any]:
    found = [ssl.Certificate.loadPEM(part) for part in _CERTIFICATE.findall(read_config_file(path))]
    if not found:
        raise ValueError(f"tls: no certificate in {path}")
    return found

# -*- test-case-name: tests.node_cache.test_corefile -*-
"""
The Corefile that node-cache serves: made from the template and the settings of kube-dns, and written where ``-conf`` says.

Settings that cannot be used leave those before them in force, and at the start none: a node without stub domains is better than one
without DNS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from twisted.logger import Logger

from kdns.core.config_files import read_config_file
from kdns.core.text import printable, reason_of
from kdns.corefile.errors import CorefileError
from kdns.corefile.kube_dns import BadSettings, KubeDnsSettings, read_settings
from kdns.corefile.loader import Corefile
from kdns.node_cache.config import NodeCacheConfig
from kdns.node_cache.folders import MOST, read_folder
from kdns.node_cache.template import BadTemplate, corefile_text

log = Logger(namespace="kdns.node_cache")


class NodeCorefile:
    """
    Makes the Corefile again for each start and reload.

    :param parse: makes a Corefile of a text and the name of its file.
    :param fault: told of settings and files that cannot be used, and with None when they can.
    """

    def __init__(
        self,
        config: NodeCacheConfig,
        environment: Mapping[str, str],
        parse: Callable[[str, str], Corefile],
        fault: Callable[[str | None], None] = lambda text: None,
    ) -> None:
        self._config = config
        self._environment = environment
        self._parse = parse
        self.fault = fault
        self._settings = KubeDnsSettings()
        self._written: str | None = None
        self._made_of: object = None
        self.text = ""
        """The text that was made last."""

    def load(self) -> Corefile:
        """
        Make the Corefile, write it, and parse it.

        :raises CorefileError: it is none, or there is no template.
        """
        config = self._config
        self._made_of = self._files()
        faults = [fault for fault in (self._read_settings(),) if fault]
        try:
            template = read_config_file(config.template, MOST).decode("utf-8", errors="replace")
            self.text = corefile_text(
                template,
                self._settings,
                addresses=[str(address) for address in config.addresses],
                cluster_dns=self._environment.get(config.upstream_variable(), ""),
                variable=config.upstream_variable(),
                port=config.port,
            )
        except OSError as error:
            self.fault(f"open {config.template}: {reason_of(error)}")
            raise CorefileError(f"open {config.template}: {reason_of(error)}") from None
        except BadTemplate as error:
            self.fault(f"{config.template}: {error}")
            raise CorefileError(f"{config.template}: {error}") from None
        if self.text != self._written:
            faults += filter(None, [self._write()])
        self.fault("; ".join(faults) or None)
        return self._parse(self.text, config.corefile)

    def changed(self) -> bool:
        """Whether the files that it is made of say something else than at the last :meth:`load`."""
        return self._files() != self._made_of

    def _files(self) -> object:
        """What is in the folders of template and settings; of a folder that cannot be read, the reason."""
        folders = [os.path.dirname(self._config.template) or ".", self._config.kube_dns]
        return [_content(folder) for folder in folders if folder]

    def _read_settings(self) -> str | None:
        """Take over the settings of kube-dns; returns what is wrong with them."""
        folder = self._config.kube_dns
        if not folder:
            return None
        try:
            self._settings = read_settings(read_folder(folder))
        except FileNotFoundError:
            self._settings = KubeDnsSettings()  # the ConfigMap is optional
        except (OSError, UnicodeDecodeError, BadSettings) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            return printable(f"{folder}: {reason}; the settings before stay in force")
        return None

    def _write(self) -> str | None:
        """Write the text in one step, so that no reader sees half of it; returns what is wrong."""
        path = self._config.corefile
        temporary = f"{path}.new"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(self.text)
            os.replace(temporary, path)
        except OSError as error:
            return f"write {path}: {reason_of(error)}; the Corefile is used all the same"
        self._written = self.text
        settings = self._settings
        log.info(
            "Wrote {path} with {stubs} stub domains, upstream servers: {upstreams}",
            path=path,
            stubs=len(settings.stub_domains),
            upstreams=" ".join(settings.upstreams) or "those of the node",
        )
        return None


def _content(folder: str) -> object:
    try:
        return read_folder(folder)
    except (OSError, UnicodeDecodeError) as error:
        return str(error)

"""
kdns as an application file: ``twistd -ny tap/kdns.tac``.

``KDNS_CONF`` and ``KDNS_PORT`` in the environment name the Corefile and the port; with ``KDNS_TAKEOVER`` set, it shares the ports of a running
kdns, which is ended afterwards. Take this file as a beginning for an application that
does more than DNS: services that are added to ``application`` start and stop together.
"""

import os

from twisted.application.service import Application

from kdns.tap import Options, makeService

options = Options()
options.parseOptions(
    ["--conf", os.environ.get("KDNS_CONF", "Corefile"), "--dns-port", os.environ.get("KDNS_PORT", "53")]
    + ["--takeover"] * bool(os.environ.get("KDNS_TAKEOVER"))
)

service = makeService(options)
if not service.check():  # it has printed why; after twistd has gone into the background, nothing it prints would be seen
    raise SystemExit(1)

application = Application("kdns")
service.setServiceParent(application)

"""The page of *web* in a headless Chromium; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import dns.message
import dns.query
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.browser import CHROMIUM, Browser
from tests.integration.programs import Program, free_port

COREFILE = """\
.:{port} {{
    bind 127.0.0.1
    prometheus 127.0.0.1:{page}
    web 127.0.0.1:{page}
    reload 2s 1s
    hosts {{
        192.0.2.1 www.example.org
        fallthrough
    }}
    whoami
}}
"""

HOSTILE = "<b\\032id=pwned>x</b>.example.org"
"""A name that would be an element on a page that takes text for markup."""


class WebTests(SynchronousTestCase):
    """One server, and one browser."""

    def setUp(self) -> None:
        if CHROMIUM is None:
            raise SkipTest("there is no Chromium")
        self.port, self.page = free_port(), free_port()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.corefile = self.folder / "Corefile"
        self.corefile.write_text(COREFILE.format(port=self.port, page=self.page))
        program = Program(["-m", "kdns", "-conf", str(self.corefile), "-admin.socket", f"@kdns-test-web-{self.port}"])
        self.addCleanup(program.__exit__, None, None, None)
        program.wait_for("twisted-")
        for name in ("www.example.org", HOSTILE):
            dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", 20.0, self.port)
        self.browser = Browser(self.folder / "profile")
        self.addCleanup(self.browser.close)
        self.browser.size(1000)
        self.browser.open(f"http://127.0.0.1:{self.page}/")
        self.browser.until("document.querySelectorAll('#names td').length >= 4")

    def test_page(self) -> None:
        """It fills itself, fits each width, breaks no rule of its policy, and takes no name for markup."""
        names = self.browser.run("document.getElementById('names').textContent")
        self.assertIn("www.example.org.", names)
        self.assertIn("id=pwned>x</b>.example.org.", names)
        self.assertIsNone(self.browser.run("document.getElementById('pwned')"))
        for width in (400, 1000, 1800):
            for dark in (False, True):
                self.browser.size(width, dark=dark)
                self.assertEqual(self.browser.run("document.documentElement.scrollWidth"), width)
        self.assertEqual(self.browser.problems, [])

    def test_policy(self) -> None:
        """Were there a mistake in the script, the browser would not make markup of it."""
        refused = self.browser.run(
            "(() => { try { document.body.innerHTML = '<p>'; } catch (error) { return error.name; } })()"
        )
        self.assertEqual(refused, "TypeError")

    def test_explain(self) -> None:
        """The box, with the keyboard's way to send it."""
        for name, wanted in (("www.example.org", "NOERROR, 1 records"), ("a..b", "is no domain name")):
            self.browser.run(f"document.querySelector('[name=name]').value = '{name}'")
            self.browser.run("document.getElementById('explain').requestSubmit()")
            self.browser.until(f"document.getElementById('explained').textContent.includes('{wanted}')")

    def test_wrong_and_mended(self) -> None:
        """A Corefile that goes bad shows at once, with what to do, and goes when it is mended."""
        good = self.corefile.read_text()
        self.assertEqual(self.browser.run("document.getElementById('wrong-list').textContent"), "Nothing.")
        self.corefile.write_text(good.replace("whoami", "nonsense"))
        self.browser.until("document.getElementById('wrong-list').textContent.includes('kdns check')")
        self.browser.until("document.getElementById('corefile-state').textContent.includes('nonsense')")
        self.assertEqual(self.browser.run("document.title"), "(1) kdns")
        self.corefile.write_text(good)
        self.browser.until("document.getElementById('wrong-list').textContent === 'Nothing.'")

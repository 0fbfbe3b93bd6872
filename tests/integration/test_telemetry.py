"""What *dnstap*, *trace* and *geoip* tell others, from a kdns in a process of its own: read by programs and libraries that are not ours."""

from __future__ import annotations

import shutil
import signal
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from tempfile import mkdtemp
from threading import Thread

from dnstap_pb import Dnstap, Message  # type: ignore[import-untyped]  # it has no annotations
from fstrm import FstrmCodec  # type: ignore[import-untyped]  # as above
from google.protobuf.json_format import Parse  # type: ignore[import-untyped]  # it has no annotations
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.databases import GERMANY, database
from tests.integration.programs import PATIENCE, Program, ask, free_port

TIMES = 3


def frames(content: bytes) -> list[Dnstap]:
    """The messages of a capture file, taken apart by the Frame Streams codec from PyPI."""
    codec = FstrmCodec()
    codec.append(content)
    found = []
    while codec.process():
        control, _, payload = codec.decode()
        if control == 0:
            message = Dnstap()
            message.ParseFromString(payload)
            found.append(message)
    return found


class TelemetryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(mkdtemp())  # a socket's path may have 108 bytes only
        self.addCleanup(shutil.rmtree, self.folder)
        self.port = free_port()

    def serve(self, words: str) -> Program:
        """Start kdns with these directives and names that it answers."""
        corefile = self.folder / "Corefile"
        corefile.write_text(
            f".:{self.port} {{\nbind 127.0.0.1\n{words}\ncache 30\nhosts {{\n192.0.2.1 a.test\n192.0.2.2 a.test\n}}\nloadbalance\n}}\n"
        )
        program = Program(["-m", "kdns", "-conf", str(corefile)]).__enter__()
        self.addCleanup(program.__exit__, None, None, None)
        program.wait_for(f".:{self.port}")
        return program

    def end(self, program: Program) -> None:
        program.send(signal.SIGTERM)
        status, _, errors = program.end()
        self.assertEqual((status, errors), (0, ""))


class CaptureTests(TelemetryCase):
    """``fstrm_capture`` of the reference implementation."""

    def capture(self, name: str, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start it; the program, and the file that it writes."""
        file = self.folder / name
        command = ["fstrm_capture", "-t", "protobuf:dnstap.Dnstap", "-w", str(file), *options]
        program = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        return program, file

    def test_captured(self) -> None:
        """Over a Unix socket and over TCP it gets every query and reply, whether a plugin made it or the answer table had it."""
        if shutil.which("fstrm_capture") is None:
            raise SkipTest("fstrm_capture (Debian: fstrm-bin) is not installed")
        path, port = self.folder / "tap.sock", free_port()
        captures = (
            self.capture("unix", "-u", str(path)),
            self.capture("tcp", "-a", "127.0.0.1", "-p", str(port)),
        )
        program = self.serve(
            f"dnstap {path} full {{\nidentity me\n}}\ndnstap tcp://127.0.0.1:{port} full {{\nidentity me\n}}"
        )
        for _ in range(TIMES):
            for tcp in (False, True):
                ask(self.port, "a.test", tcp=tcp)
        self.end(program)
        for capture, file in captures:
            capture.send_signal(signal.SIGTERM)
            capture.wait(PATIENCE)
            found = frames(file.read_bytes())
            types = [one.message.type for one in found]
            self.assertEqual(types, [Message.CLIENT_QUERY, Message.CLIENT_RESPONSE] * 2 * TIMES, file.name)
            self.assertEqual([one.message.socket_protocol for one in found[::2]], [1, 2] * TIMES)
            self.assertEqual({one.identity for one in found}, {b"me"})
            replies = [one.message.response_message for one in found[1::2]]
            self.assertTrue(all(b"\xc0\x00\x02\x01" in reply and b"\xc0\x00\x02\x02" in reply for reply in replies))


class CollectorTests(TelemetryCase):
    def test_otlp(self) -> None:
        """Spans come in OpenTelemetry's own format, and lines of the log have the country of this host, also for repeated replies."""
        posted: Queue[tuple[str, bytes]] = Queue()

        class Collector(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posted.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        server = HTTPServer(("127.0.0.1", 0), Collector)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        path = self.folder / "city.mmdb"
        path.write_bytes(database("GeoLite2-City", {"127.0.0.0/8": GERMANY}))
        program = self.serve(
            f'metadata\ngeoip {path}\nlog . "country {{/geoip/country/name}}"\n'
            f"trace otlp 127.0.0.1:{server.server_port} {{\nzipkin_max_batch_interval 100ms\n}}"
        )
        for tcp in (False, True):
            for _ in range(TIMES):
                ask(self.port, "a.test", tcp=tcp)
        names: list[str] = []
        while names.count("servedns") < 2 * TIMES:
            where, body = posted.get(timeout=PATIENCE)
            self.assertEqual(where, "/v1/traces")
            for resource in Parse(body, ExportTraceServiceRequest()).resource_spans:
                names += [span.name for scope in resource.scope_spans for span in scope.spans]
        once = ["servedns", "admission", "cache", "loadbalance", "hosts"]
        self.assertEqual(sorted(set(names)), sorted(once))
        program.send(signal.SIGTERM)
        status, said, errors = program.end()
        self.assertEqual((status, errors, said.count("country Germany")), (0, "", 2 * TIMES))

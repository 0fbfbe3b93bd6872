"""Words of trace."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.trace import directive
from kdns.plugins.trace.config import OTLP, ExportConfig, TraceConfig
from kdns.testing.plugin import PluginBench

ZIPKIN_URL = "http://localhost:9411/api/v2/spans"


class ConfigTests(SynchronousTestCase):
    def read(self, text: str) -> TraceConfig:
        config = PluginBench(directive, "trace {\nevery 0\n}").parse(text)
        assert isinstance(config, TraceConfig)
        return config

    def test_endpoints(self) -> None:
        """A type, an endpoint, or both."""
        for words, kind, url in (
            ("", "zipkin", ZIPKIN_URL),
            ("zipkin", "zipkin", ZIPKIN_URL),
            ("ZIPKIN host:1", "zipkin", "http://host:1/api/v2/spans"),
            ("host:1", "zipkin", "http://host:1/api/v2/spans"),
            ("https://host/x", "zipkin", "https://host/x"),
            ("otlp", "otlp", "http://localhost:4318/v1/traces"),
            ("otlp [fd00::1]:4318", "otlp", "http://[fd00::1]:4318/v1/traces"),
        ):
            self.assertEqual(self.read(f"trace {words}").export, ExportConfig(kind, url), words)

    def test_options(self) -> None:
        """All options; the last values count."""
        config = self.read(
            "trace otlp {\nevery 7\nservice a\n}\ntrace {\nservice b\nclient_server TRUE\ndatadog_analytics_rate 1\n"
            "zipkin_max_backlog_size 1\nzipkin_max_batch_size 2\nzipkin_max_batch_interval 3s\n}"
        )
        url = "http://localhost:4318/v1/traces"
        self.assertEqual(config, TraceConfig(ExportConfig(OTLP, url, "b", 1, 2, 3.0), 7))

    def test_errors(self) -> None:
        """What would do nothing, or something else, is an error."""
        bench = PluginBench(directive, "trace {\nevery 0\n}")
        for text, wanted in (
            ("trace datadog", "does not speak Datadog's own protocol"),
            ("trace jaeger h:1", "tracing endpoint type 'jaeger' is not supported"),
            ("trace ftp://h:1", "an endpoint is HOST:PORT or an http or https URL"),
            ("trace h:x", "an endpoint is HOST:PORT or an http or https URL"),
            ("trace {\nzipkin_max_batch_size 0\n}", "must be at least 1, found 0"),
            ("trace {\nzipkin_max_batch_interval 0s\n}", "must be longer than 0s"),
            ("trace {\nclient_server tRue\n}", 'strconv.ParseBool: parsing "tRue": invalid syntax'),
        ):
            self.assertIn(wanted, bench.error(text), text)

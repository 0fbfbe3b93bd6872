"""Tests of ``proxyproto``."""

"""Tests of ``tsig``."""

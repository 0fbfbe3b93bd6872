"""Tests of ``tls``."""

"""Tests of ``dnssec``."""

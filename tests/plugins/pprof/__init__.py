"""Tests of ``pprof``."""

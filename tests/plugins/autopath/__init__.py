"""Tests of ``autopath``."""

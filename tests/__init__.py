"""Tests of kdns; the folders mirror the package."""

"""Tests of geoip."""

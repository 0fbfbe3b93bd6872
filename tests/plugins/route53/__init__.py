"""Tests of kdns.plugins.route53."""

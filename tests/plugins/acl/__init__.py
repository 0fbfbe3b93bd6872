"""Tests of acl."""

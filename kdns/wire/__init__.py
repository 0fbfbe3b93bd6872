"""Bytes of DNS: names, questions, EDNS, rendering and TTL ageing; no reactor and no clock."""

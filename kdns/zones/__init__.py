"""
Zones: data that kdns is authoritative for, independent of any plugin.

Master files are read into an ordered index of wire-form records (``loader``, ``index``), questions are answered from it with DNSSEC proofs
(``lookup``, ``proofs``), and it is sent and received as transfers (``outgoing``, ``incoming``). No module of this package does I/O but
through what its caller passes in, and none keeps a timer: long work is a generator that its caller advances.
"""

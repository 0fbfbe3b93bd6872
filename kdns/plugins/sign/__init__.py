"""``sign``: sign zone files from time to time, for *file* or *auto* to serve. Its directive is in ``config``, as that of *dnssec* is."""

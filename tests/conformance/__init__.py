"""Golden cases: what a CoreDNS answered, as data, asked of kdns."""

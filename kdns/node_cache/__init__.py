"""
``kdns node-cache``: kdns in the place of NodeLocal DNSCache's ``node-cache``, a cache on each node of a cluster.

It makes a network interface with the addresses that pods ask, adds packet rules so that queries to them are not tracked, and writes the
Corefile from a template and the settings of kube-dns. All of this is one resource beside those of the Corefile.
"""

"""
The admin socket: how an operator asks a running server.

:mod:`kdns.admin.client` asks, and imports nothing of Twisted; :mod:`kdns.admin.service` answers.
"""

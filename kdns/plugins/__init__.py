"""One module or package a plugin, and the one ordered list of them (:mod:`kdns.plugin.registry`)."""

"""What makes a release and the site out of the tree: man pages, the description for the package index, pages. No part of kdns."""

"""The seam between plugins and the server, and what stands behind it."""

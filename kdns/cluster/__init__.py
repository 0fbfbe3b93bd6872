"""What kdns knows of the cluster: objects, index, watch, manifests and snapshot; no DNS in here."""

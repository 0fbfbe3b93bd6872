"""What kdns is deployed with: manifests, image, unit, dashboard and alerts."""

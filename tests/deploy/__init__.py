"""What is handed out to install with: manifests, image, wheel, units. ``manifests`` reads them, ``rights`` their RBAC."""

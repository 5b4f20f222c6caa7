"""The home cluster, against a small API server and devices in memory."""

"""The core's decisions, asked directly: no device, no cluster, no clock."""

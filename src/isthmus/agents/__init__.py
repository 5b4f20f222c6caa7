"""The processes on nodes and gateways: each knows its own host and what it is told, nothing of the rest."""

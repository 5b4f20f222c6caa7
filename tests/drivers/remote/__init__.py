"""A gateway away from its controller: agent and driver over real TLS on the loopback."""

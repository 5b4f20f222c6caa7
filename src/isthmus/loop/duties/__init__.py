"""What a cluster's worker looks after, one duty per file; each reads the world, asks the core, and writes one object."""

"""The device edge: drivers only read and write, they never decide. Siblings do not know one another."""

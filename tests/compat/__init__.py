"""The older systems' inputs and outputs."""

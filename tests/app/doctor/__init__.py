"""What the doctor says, and what it must never say."""

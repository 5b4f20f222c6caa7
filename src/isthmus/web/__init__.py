"""What the processes show over HTTP to those who watch over them: health, readiness and metrics; no user's data."""

"""When and how often: a queue of keys, one worker per device and per cluster. What to do is decided in ``core``."""

"""When and how often: the queue and the workers, on a clock that jumps."""

"""Where the user's kinds come from and are kept: YAML files, and the state directory.

This room does file and SQLite I/O and nothing else: no Kubernetes, no devices. It never decides what an object means;
it says what was written, where, and what is wrong with it, and keeps what must survive a restart.
"""

"""Stage 3: flow keys and tables to sockets or outcomes."""

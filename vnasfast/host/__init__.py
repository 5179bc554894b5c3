"""A live Linux machine: what its kernel says, beside what the tables say."""

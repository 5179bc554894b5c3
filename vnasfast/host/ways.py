"""What sockets can be grouped by; alone in its file, because command lines need it before they need anything else."""

WAYS = ("netns", "cgroup", "user", "executable", "container")

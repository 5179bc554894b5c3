best: str
name: str
paths: tuple[str, ...]

# Nothing here is for Python: see pcapng.pxd.

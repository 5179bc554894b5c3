"""State: processes, ANY addresses, ports and sockets, routes, and the hash index below them."""

"""The C structs of ``typedefs.pxd`` as numpy dtypes; a test holds names, sizes and offsets together."""

import numpy as np

#: What dispatch needs of a packet: 48 bytes. ``destination`` and ``source`` are 16 bytes in network order,
#: IPv4 as ``::ffff:a.b.c.d``; ports are in host order; ``source_pid`` 0 means "not given".
FLOW_KEY = np.dtype(
    [
        ("destination", np.uint8, (16,)),
        ("source", np.uint8, (16,)),
        ("destination_port", np.uint16),
        ("source_port", np.uint16),
        ("vlan", np.uint16),
        ("protocol", np.uint8),
        ("status", np.int8),
        ("source_pid", np.int32),
        ("fragment_id", np.uint32),
    ]
)

#: The same of an IPv4 packet that is no fragment: 16 bytes. ``destination`` and ``source`` are in network order.
FLOW_KEY_IPV4 = np.dtype(
    [
        ("destination", np.uint8, (4,)),
        ("source", np.uint8, (4,)),
        ("destination_port", np.uint16),
        ("source_port", np.uint16),
        ("vlan", np.uint16),
        ("protocol", np.uint8),
        ("status", np.int8),
    ]
)

"""yamux 1.0.0: a core without I/O (``session`` and its parts) and a thin trio shell (``muxer``, ``stream``)."""

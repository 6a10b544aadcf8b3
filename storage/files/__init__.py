"""Files on this machine's disk: importing them into blocks, and writing fetched trees out safely.  Blocking."""

"""What is known about blocks beside their bytes: how they are used, what is pinned, what a GC has marked.

Begin at ``catalog.Catalog``.
"""

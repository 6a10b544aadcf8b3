"""The words that shoal's actors say to one another.

One module a conversation, each a handful of frozen typed structs.  Start with ``base`` (what a message
is), ``envelope`` (how one travels) and ``codec`` (how one becomes bytes); ``limits`` holds every bound.
Nothing here does I/O, reads a clock or draws a random number.
"""

"""Gossipsub v1.1, and what shoals announce to each other over it: begin with ``router``, then ``announcements``."""

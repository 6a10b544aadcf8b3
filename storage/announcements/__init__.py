"""The durable backlog of announcements: what is to be told to others, over which way, and when."""

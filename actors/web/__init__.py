"""HTTP as actors use it: the client that they are given, and how servers stand with them."""

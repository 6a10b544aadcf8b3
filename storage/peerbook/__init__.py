"""The peer book's file: peers, their addresses and how they did, over restarts."""

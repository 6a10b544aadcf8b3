"""The transport actor: connections, streams and dialling, over whatever ``network.Network`` it is given."""

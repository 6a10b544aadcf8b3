"""The machine room: supervisor, router, hosts, clock, configuration, HTTP, command line and simulation."""

"""The gRPC side: client, embedded server and what checks them. Knows only the served signatures."""

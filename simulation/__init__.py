"""Simulated users: they write the demo play logs."""

"""Stand-ins that run on loopback: a Hub and a recorded web, for the demo and the tests."""

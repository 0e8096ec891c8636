"""The front ends: over HTTP, with real servers, real clients and a real browser."""

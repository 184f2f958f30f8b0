"""Captions by machine for clips of sound and video: what they sound like, look like, and both together."""

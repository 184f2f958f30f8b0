"""Months of recordings, one command: planned, resumable inside a file, on one machine or many."""

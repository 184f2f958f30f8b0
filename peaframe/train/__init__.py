"""Batches of soundscapes and the trainer."""

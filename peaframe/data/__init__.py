"""Sounds and words to learn from: the sound bank, augmentation, soundscapes, prompts."""

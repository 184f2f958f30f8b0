"""DAC-VAE: waveform -> one latent vector per 40 ms, the audio that PE models hear."""

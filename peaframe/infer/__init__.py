"""From scores to answers: windows, the detector, plots."""

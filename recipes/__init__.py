"""What one runs and copies: training and measuring, wiring only."""

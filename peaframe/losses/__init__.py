"""What training minimises; every loss is masked."""

"""One cell, from its identity to its record."""

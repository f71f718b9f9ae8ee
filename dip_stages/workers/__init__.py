"""Processes and clusters that compute cells."""

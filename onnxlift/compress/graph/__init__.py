"""Graphs as they are edited: nodes, layers, and rewrites that keep the answers."""

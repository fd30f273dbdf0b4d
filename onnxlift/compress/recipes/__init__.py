"""Recipes: named lists of steps, and which of them suit a target and a graph."""

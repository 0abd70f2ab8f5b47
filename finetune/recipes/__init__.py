"""Recipes: YAML files, their schema, and reading one with overrides."""

"""Procedural items for the three executable skills. What an answer is worth is not decided here."""

"""What every other package may rely on: errors, status words, sources of formulas, named random streams."""

"""Pure float64 mathematics that theory, laws and the sweep share. Import the modules directly."""

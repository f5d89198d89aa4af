"""A day of attack in some minutes: kills, mutants, hostile folders, bodies and threads."""

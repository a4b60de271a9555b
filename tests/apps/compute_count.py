"""How often slow_to_compute has been imported."""
imports = 0

"""Settings, logs, clock and text: what every package may use. It imports none of the others."""

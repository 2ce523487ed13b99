"""Published neurons by name, one paper per file."""

from .hodgkin_huxley import squid_axon as squid_axon

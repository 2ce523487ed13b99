"""Files: what `hh.save` keeps, and arrays on disk."""

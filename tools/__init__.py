"""Programs that make files of the package; nothing at run time needs them."""

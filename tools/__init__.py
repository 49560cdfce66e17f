"""Programs that make files of the package, or reckon on paper; nothing at run time needs them."""

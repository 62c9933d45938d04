"""Files: written whole or not at all, read with errors that say what is wrong with them."""

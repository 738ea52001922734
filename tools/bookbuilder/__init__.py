"""The parts of tools/book.py: from book.toml and percent scripts to notebooks, site and assignments."""

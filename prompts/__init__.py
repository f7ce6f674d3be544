"""One Jinja2 file per prompt with front matter, and the catalogue that renders and hashes them."""

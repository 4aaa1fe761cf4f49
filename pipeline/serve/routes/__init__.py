"""The HTTP routes, by subject. Each takes what it needs from `asked` and returns data; nothing here decodes."""

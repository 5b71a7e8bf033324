"""The files that stages hand on, one module each: what a row is, and its one reader and writer."""

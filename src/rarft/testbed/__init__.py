"""Generated word problems, structure x surface, whose gold analogies are known."""

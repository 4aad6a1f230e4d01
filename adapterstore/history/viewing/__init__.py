"""A history to look at: graph, figures, differences, trends."""

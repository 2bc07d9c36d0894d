"""Scripts of the repository: fetch and prepare real data sets, train the weights that ship, draw the pictures."""

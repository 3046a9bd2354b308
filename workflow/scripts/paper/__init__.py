"""What a paper is made of: tables, figures, published numbers, checks, costs."""

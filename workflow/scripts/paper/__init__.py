"""The paper's furniture: tables, figures, literature, checks, costs."""

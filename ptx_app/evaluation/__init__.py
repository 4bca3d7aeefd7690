"""A model's figures with their intervals, and the reports and plots of them."""

"""Training, evaluation and comparison of the models behind the app. Nothing in the app's way imports this package."""

"""Training of the models behind the app. The app itself never imports this package."""

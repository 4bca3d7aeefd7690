"""The Streamlit page. Nothing outside this room knows Streamlit."""

"""The Streamlit page. Nothing outside this folder imports Streamlit."""

"""The page's entry: `streamlit run app.py`."""

from ptx_app.ui.page import show

show()

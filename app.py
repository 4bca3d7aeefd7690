"""Entry point: `streamlit run app.py`. Streamlit imports this file for the server and runs it for each page."""

from ptx_app.ui.server import prepare_process

prepare_process()  # before the page imports torch

if __name__ == "__main__":
    from ptx_app.ui.page import show

    show()
else:
    import streamlit as st
    from starlette.middleware import Middleware

    from ptx_app.ui.gate import SignInGate
    from ptx_app.ui.server import SecurityHeaders, started

    app = st.App(__file__, middleware=[Middleware(SecurityHeaders), Middleware(SignInGate)], lifespan=started)

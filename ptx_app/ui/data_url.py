"""Pictures inside the page itself, so that no film is ever under an address of its own."""

from base64 import b64encode


def data_url(data: bytes, mime: str) -> str:
    """The bytes as a data URL of that media type."""
    return f"data:{mime};base64,{b64encode(data).decode('ascii')}"

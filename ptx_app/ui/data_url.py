"""Pictures inside the page itself, so that no film has an address of its own."""

from base64 import b64encode


def data_url(data: bytes, mime: str) -> str:
    """The bytes as a data URL of the media type `mime`."""
    return f"data:{mime};base64,{b64encode(data).decode('ascii')}"

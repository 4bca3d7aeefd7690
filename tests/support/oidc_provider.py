"""python -m tests.support.oidc_provider PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI: an OpenID provider on 127.0.0.1.

Authlib's own authorization server, with code flow, PKCE and RS256. Its sign-in page lists its people; a click signs in.
"""

import secrets
import sys
import time
from types import SimpleNamespace
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.models import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, redirect, request
from joserfc.jwk import RSAKey

PEOPLE: dict[str, dict[str, Any]] = {
    "jane": {"name": "Jane Reader", "roles": ["reader"]},
    "john": {"name": "John Reader", "roles": ["reader"]},
    "olga": {"name": "Olga Operator", "roles": ["operator"]},
    "both": {"name": "Bo Both", "roles": ["operator", "reader"]},
    "none": {"name": "Nick Nobody", "roles": ["accounting"]},
    "many": {"name": "Mona Manygroups", "roles": ["reader"], "groups": [secrets.token_hex(16) for _ in range(200)]},
}


class Client(ClientMixin):
    """The app, as the provider knows it."""

    def __init__(self, client_id: str, secret: str, redirect_uri: str) -> None:
        self.client_id, self._secret, self._redirect_uri = client_id, secret, redirect_uri

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return self._redirect_uri

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri == self._redirect_uri

    def check_client_secret(self, client_secret):
        return client_secret == self._secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method in {"client_secret_basic", "client_secret_post"}

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


class Code(SimpleNamespace, AuthorizationCodeMixin):
    """A code that was given out and not yet redeemed."""

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return self.auth_time

    def get_acr(self):
        return None

    def get_amr(self):
        return None


def provider(issuer: str, client: Client) -> Flask:
    """The provider as a WSGI app."""
    app = Flask(__name__)
    app.config["OAUTH2_JWT_ENABLED"] = True
    key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
    codes: dict[str, Code] = {}

    class CodeGrant(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

        def save_authorization_code(self, code, request):
            payload = request.payload
            codes[code] = Code(
                code=code, user=request.user, redirect_uri=payload.redirect_uri, scope=payload.scope,
                nonce=payload.data.get("nonce"), auth_time=int(time.time()),
                code_challenge=payload.data.get("code_challenge"),
                code_challenge_method=payload.data.get("code_challenge_method"),
            )  # fmt: skip

        def query_authorization_code(self, code, client):
            return codes.get(code)

        def delete_authorization_code(self, authorization_code):
            del codes[authorization_code.code]

        def authenticate_user(self, authorization_code):
            return authorization_code.user

    class Identity(OpenIDCode):
        def exists_nonce(self, nonce, request):
            return False

        def get_jwt_config(self, grant=None, client=None):
            return {"key": key, "alg": "RS256", "iss": issuer, "exp": 3600}

        def resolve_client_private_key(self, client):
            return key

        def get_client_claims(self, client):
            return {"iss": issuer}

        def generate_user_info(self, user, scope):
            return UserInfo(sub=user, **PEOPLE[user])

    server = AuthorizationServer(
        app, query_client=lambda name: client if name == client.client_id else None, save_token=lambda *_: None
    )
    server.register_grant(CodeGrant, [Identity(require_nonce=True), CodeChallenge(required=True)])

    @app.get("/.well-known/openid-configuration")
    def configuration():
        return jsonify(
            issuer=issuer,
            authorization_endpoint=f"{issuer}/authorize",
            token_endpoint=f"{issuer}/token",
            jwks_uri=f"{issuer}/keys",
            end_session_endpoint=f"{issuer}/end",
            response_types_supported=["code"],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=["RS256"],
            code_challenge_methods_supported=["S256"],
        )

    @app.get("/keys")
    def keys():
        return jsonify(keys=[key.as_dict(private=False)])

    @app.get("/authorize")
    def choose():
        buttons = "".join(f'<button name="who" value="{who}">{facts["name"]}</button>' for who, facts in PEOPLE.items())
        return f'<h1>Who are you?</h1><form method="post">{buttons}</form>'

    @app.post("/authorize")
    def authorize():
        grant = server.get_consent_grant(end_user=request.form["who"])
        return server.create_authorization_response(grant_user=request.form["who"], grant=grant)

    @app.post("/token")
    def token():
        return server.create_token_response()

    @app.get("/end")
    def end():
        return redirect(client.get_default_redirect_uri())

    return app


if __name__ == "__main__":
    import os

    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # http, on loopback only
    port = int(sys.argv[1])
    provider(f"http://127.0.0.1:{port}", Client(*sys.argv[2:5])).run("127.0.0.1", port)

// node provider.mjs PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI: an OpenID provider on 127.0.0.1.
// oidc-provider is certified by the OpenID Foundation and shares no code with the app. Its own pages ask for a name, and
// take any password.
import { Provider } from "oidc-provider";

const [port, client_id, client_secret, redirect_uri] = process.argv.slice(2);
const PEOPLE = {
  jane: { name: "Jane Reader", realm_access: { roles: ["reader"] } },
  none: { name: "Nick Nobody", realm_access: { roles: ["accounting"] } },
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id, client_secret, redirect_uris: [redirect_uri], post_logout_redirect_uris: [redirect_uri] }],
  claims: { openid: ["sub"], profile: ["name", "realm_access"] },
  conformIdTokenClaims: false, // the app reads the claims of the identity token
  findAccount: (_, id) => PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
  pkce: { required: () => true },
});
provider.listen(Number(port), "127.0.0.1");

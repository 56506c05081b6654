// A certified OpenID provider that stands in for Google. Prints "ready" once it listens.
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const given = JSON.parse(readFileSync(0, "utf8"));
const provider = new Provider(given.issuer, {
  clients: [{ client_id: given.client_id, client_secret: given.client_secret, redirect_uris: given.redirect_uris }],
  pkce: { required: () => true },
  conformIdTokenClaims: false, // like Google: the address is in the ID token
  claims: { openid: ["sub", "hd"], email: ["email", "email_verified"], profile: ["given_name", "family_name"] },
  features: { devInteractions: { enabled: true } },
  cookies: { keys: [given.cookie_key] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id, hd: "example.com", email: `${id}@example.com`, email_verified: true, given_name: "Ann",
    }),
  }),
});
provider.listen(given.port, "127.0.0.1", () => console.log("ready"));

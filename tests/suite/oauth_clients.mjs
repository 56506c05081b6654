// Runs certified OAuth clients against a suite. Prints a line per successful step: RFC section and action.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import * as client from "openid-client";
import * as oauth from "oauth4webapi";
import { createRemoteJWKSet, jwtVerify } from "jose";

const given = JSON.parse(readFileSync(0, "utf8"));
const issuer = new URL(given.issuer);
const ours = { "sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded" };
const ok = (section, what) => console.log(`ok ${section}: ${what}`);
const insecure = { execute: [client.allowInsecureRequests] };
const plain = { [oauth.allowInsecureRequests]: true };
let cookie = "";

// A browser that signs in once, grants every consent, and stops at the app's redirect URI.
async function browse(url) {
  for (let step = 0; step < 10; step += 1) {
    if (url.href.startsWith(given.redirect)) return url;
    let response = await fetch(url, { redirect: "manual", headers: { cookie } });
    if (response.status === 200) {
      const page = await response.text();
      const value = (name) =>
        page.match(new RegExp(`name="${name}" value="([^"]*)"`))?.[1].replaceAll("&amp;", "&");
      const isConsent = page.includes('action="/oauth/consent"');
      const form = isConsent
        ? { request: value("request"), answer: "allow" }
        : { name: given.email, password: "password123", next: value("next") };
      response = await fetch(new URL(isConsent ? "/oauth/consent" : "/auth/signin", issuer), {
        method: "POST", redirect: "manual", headers: { ...ours, cookie }, body: new URLSearchParams(form),
      });
      for (const one of response.headers.getSetCookie()) {
        if (one.startsWith("session=")) cookie = one.split(";")[0];
      }
    }
    assert.equal(response.status, 303);
    url = new URL(response.headers.get("location"), issuer);
  }
  throw new Error("the browser is in a redirect loop");
}

async function withOpenidClient(app, isPublic) {
  const method = isPublic ? client.None() : client.ClientSecretBasic(app.client_secret);
  const config = await client.discovery(issuer, app.client_id, undefined, method, insecure);
  ok("OIDC Discovery 4", `openid-client reads the metadata (${isPublic ? "public" : "confidential"})`);
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: given.redirect, scope: "openid profile email offline_access", state, nonce, max_age: "3600",
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  });
  const back = await browse(url);
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, maxAge: 3600 };
  const tokens = await client.authorizationCodeGrant(config, back, checks);
  ok("RFC 6749 4.1, 7636, 9207; OIDC Core 3.1", "code with PKCE, state, nonce, iss and max_age");
  const info = await client.fetchUserInfo(config, tokens.access_token, given.sub);
  assert.equal(info.email, given.email);
  ok("OIDC Core 5.3", "userinfo");
  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(renewed.refresh_token, tokens.refresh_token);
  ok("RFC 6749 6", "refresh with rotation");
  await assert.rejects(client.authorizationCodeGrant(config, back, checks), { error: "invalid_grant" });
  ok("RFC 6749 4.1.2, oidcc-codereuse", "a reused code is refused");
  await assert.rejects(client.refreshTokenGrant(config, renewed.refresh_token), { error: "invalid_grant" });
  ok("RFC 9700 4.2.4", "the tokens from a reused code are revoked");
  return config;
}

const web = await withOpenidClient(given.web, false);
await withOpenidClient(given.native, true);

const machine = await client.discovery(
  issuer, given.machine.client_id, undefined, client.ClientSecretPost(given.machine.client_secret), insecure);
const own = await client.clientCredentialsGrant(machine, { scope: "full_access" });
ok("RFC 6749 4.4", "client credentials with client_secret_post");

const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...plain }));
const request = new Request(issuer, { headers: { authorization: `Bearer ${own.access_token}` } });
const claims = await oauth.validateJwtAccessToken(as, request, "gatehouse", plain);
assert.equal(claims.client_id, given.machine.client_id);
ok("RFC 8414, 9068", "oauth4webapi validates the access token with the metadata");
const { payload } = await jwtVerify(own.access_token, createRemoteJWKSet(new URL(as.jwks_uri)), { issuer: given.issuer, typ: "at+jwt" });
assert.equal(payload.sub, given.machine.client_id);

assert.equal((await client.tokenIntrospection(machine, own.access_token)).active, true);
await client.tokenRevocation(machine, own.access_token);
assert.equal((await client.tokenIntrospection(machine, own.access_token)).active, false);
assert.equal((await client.tokenIntrospection(web, own.access_token)).active, false);
ok("RFC 7009, 7662", "revocation of a signed access token, seen by introspection");
const refused = new URL(client.buildAuthorizationUrl(web, { redirect_uri: given.redirect, scope: "openid", code_challenge: "x" }));
const told = await browse(refused);
assert.equal(told.searchParams.get("error"), "invalid_request");
ok("RFC 7636 4.3", "a request without S256 is redirected back with invalid_request");

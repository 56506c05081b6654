// This tab's tokens, stored under the same keys as the page at /docs uses, so that one sign-in serves both.

const TOKEN = "gatehouse.token";
const REFRESH_TOKEN = "gatehouse.refresh";
const EARLY_SECONDS = 60; // refresh this long before expiry, so that no token expires in transit

const token = () => sessionStorage.getItem(TOKEN);
const refreshToken = () => sessionStorage.getItem(REFRESH_TOKEN);
let exchange = null; // the refresh in progress: a refresh token works only once

export async function signIn(name, password) {
  keep(await post("/auth/login", { [name.includes("@") ? "email" : "username"]: name, password }));
}

export async function signOut() {
  const ended = refreshToken();
  keep({});
  if (ended) await post("/auth/logout", { refresh_token: ended }).catch(() => {}); // it expires anyway
}

export function claims() {
  try {
    return JSON.parse(atob(token().split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return null;
  }
}

/** Whether this token may type: not that of an impersonating admin, nor one without the scope. */
export function mayType() {
  const { act, scope, client_id: client } = claims() ?? {};
  if (act) return false;
  if (scope === undefined || (scope === "read write" && !client)) return true; // of a person who signed in
  return ["terminal:write", "write", "full_access"].some((one) => scope.split(" ").includes(one));
}

/** Sends a request with a valid token; errors carry the response's `status` and `body`. */
export async function ask(method, path, body) {
  const expires = claims()?.exp ?? 0;
  if (refreshToken() && expires * 1000 - Date.now() < EARLY_SECONDS * 1000) await renew();
  return request(method, path, body, token() ? { Authorization: `Bearer ${token()}` } : {});
}

function renew() {
  exchange ??= post("/auth/refresh", { refresh_token: refreshToken() })
    .then(keep, (error) => error.status && keep({})) // refused: the session is over; unreachable: keep it
    .finally(() => { exchange = null; });
  return exchange;
}

function keep(answer) {
  for (const [key, value] of [[TOKEN, answer.token], [REFRESH_TOKEN, answer.refresh_token]]) {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  }
}

const post = (path, body) => request("POST", path, body, {});

async function request(method, path, body, headers) {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const typed = body === undefined ? headers : { ...headers, "Content-Type": "application/json" };
  const response = await fetch(path, { method, headers: typed, ...content });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw Object.assign(new Error(answer.detail ?? response.statusText), { status: response.status, body: answer });
}

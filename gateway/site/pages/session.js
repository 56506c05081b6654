// The tokens of this tab: kept until it is closed, and refreshed before they expire.

const TOKEN = "gatehouse.token";
const REFRESH_TOKEN = "gatehouse.refresh";
const EARLY_SECONDS = 60; // before expiry, so that no token expires while a request is on its way

export const token = () => sessionStorage.getItem(TOKEN);
const refreshToken = () => sessionStorage.getItem(REFRESH_TOKEN);

let changed = () => {};
let exchange = null; // the refresh in progress: a refresh token can be used only once
let timer;

/** Call `callback` whenever someone signs in or out, or the token is refreshed. */
export function onChange(callback) {
  changed = callback;
  schedule();
}

export async function signIn(name, password) {
  keep(await post("/auth/login", { [name.includes("@") ? "email" : "username"]: name, password }));
}

/** Use this token as it is; it has no refresh token. */
export const use = (text) => keep({ token: text });

/** Delete the tokens, and end the session if it was started here. */
export async function signOut() {
  const ended = refreshToken();
  keep({});
  if (ended) await post("/auth/logout", { refresh_token: ended }).catch(() => {}); // it expires by itself
}

/** The token to send, refreshed if it is about to expire. */
export async function freshToken() {
  if (isDue()) await renew();
  return token();
}

export function claims() {
  try {
    return JSON.parse(atob(token().split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {}; // not a JWT: sent as it is
  }
}

export const isOver = () => claims().exp * 1000 < Date.now();

const isDue = () => Boolean(refreshToken()) && !(claims().exp * 1000 - Date.now() > EARLY_SECONDS * 1000);

function renew() {
  exchange ??= post("/auth/refresh", { refresh_token: refreshToken() })
    .then(keep, (error) => error.status && keep({})) // refused: the session is over; unreachable: try again later
    .finally(() => { exchange = null; });
  return exchange;
}

function keep(answer) {
  for (const [key, value] of [[TOKEN, answer.token], [REFRESH_TOKEN, answer.refresh_token]]) {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  }
  schedule();
  changed();
}

function schedule() {
  clearTimeout(timer);
  if (!refreshToken()) return;
  const seconds = claims().exp - Date.now() / 1000 - EARLY_SECONDS / 2;
  timer = setTimeout(freshToken, Math.max(1, seconds || 0) * 1000);
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const answer = response.status === 204 ? {} : await response.json();
  if (response.ok) return answer;
  throw Object.assign(new Error(answer.detail ?? `The response was ${response.status}.`), { status: response.status });
}

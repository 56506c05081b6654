// The tokens of this tab: kept until it is closed, and exchanged for new ones before they expire.

const TOKEN = "gatehouse.token";
const REFRESH_TOKEN = "gatehouse.refresh";
const EARLY_SECONDS = 60; // before the end, so that no request is sent with a token that expires on its way

export const token = () => sessionStorage.getItem(TOKEN);
const refreshToken = () => sessionStorage.getItem(REFRESH_TOKEN);

let changed = () => {};
let exchange = null; // the one that is under way: a refresh token is good for one exchange
let timer;

/** Call this whenever somebody signs in or out, or the token is a new one. */
export function onChange(callback) {
  changed = callback;
  schedule();
}

export async function signIn(name, password) {
  keep(await post("/auth/login", { [name.includes("@") ? "email" : "username"]: name, password }));
}

/** Use this token as it is; nothing is known that could be exchanged for the next one. */
export const use = (text) => keep({ token: text });

/** Forget everything here, and end the session where it was begun here. */
export async function signOut() {
  const ended = refreshToken();
  keep({});
  if (ended) await post("/auth/logout", { refresh_token: ended }).catch(() => {}); // it expires by itself
}

/** The token to send, a new one when the old one is about to expire. */
export async function freshToken() {
  if (isDue()) await renew();
  return token();
}

export function claims() {
  try {
    return JSON.parse(atob(token().split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {}; // whatever it is, it is sent as it is
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
  throw Object.assign(new Error(answer.detail ?? `The answer was ${response.status}.`), { status: response.status });
}

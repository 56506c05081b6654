// Who is signed in: a token that lives as long as the tab.

import { $ } from "./dom.js";

const KEY = "gatehouse.token";

export const token = () => sessionStorage.getItem(KEY);

export function askForToken() {
  $("token").value = token() ?? "";
  $("sign-in-fault").textContent = "";
  $("sign-in").showModal();
}

export function prepareAccount(canSignIn) {
  $("sign-in-form").hidden = !canSignIn;
  $("account").addEventListener("click", askForToken);
  $("sign-in-close").addEventListener("click", () => $("sign-in").close());
  $("token-forget").addEventListener("click", () => keep(""));
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keep($("token").value.trim().replace(/^Bearer /i, ""));
  });
  $("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    signIn($("sign-in-name").value.trim(), $("sign-in-password").value);
  });
  show();
}

async function signIn(name, password) {
  const body = JSON.stringify({ [name.includes("@") ? "email" : "username"]: name, password });
  try {
    const response = await fetch("/auth/login", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail ?? `The answer was ${response.status}.`);
    $("sign-in-password").value = "";
    keep(answer.token);
  } catch (error) {
    $("sign-in-fault").textContent =
      error instanceof TypeError ? "The gateway does not answer. Check that it runs, and try again." : error.message;
  }
}

function keep(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
  $("sign-in").close();
  show();
}

function show() {
  const claims = claimsOf(token());
  const isOver = claims.exp * 1000 < Date.now();
  const name = token() && (claims.username ?? claims.email ?? "token") + (isOver ? " (expired)" : "");
  $("account").hidden = false;
  $("account").textContent = name ?? "Sign in";
  $("account").setAttribute("aria-label", name ? `Signed in as ${name}. Change` : "Sign in");
  document.body.classList.toggle("signed-in", Boolean(name) && !isOver);
}

function claimsOf(text) {
  try {
    return JSON.parse(atob(text.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {}; // whatever it is, it is sent as it is
  }
}

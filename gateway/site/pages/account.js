// Shows who is signed in, and the dialog to sign in and out.

import { $ } from "./dom.js";
import { claims, isOver, onChange, signIn, signOut, token, use } from "./session.js";

export function askForToken() {
  $("token").value = "";
  $("sign-in-fault").textContent = "";
  $("sign-in").showModal();
}

export function prepareAccount(canSignIn) {
  $("sign-in-form").hidden = !canSignIn;
  $("account").addEventListener("click", askForToken);
  $("sign-in-close").addEventListener("click", () => $("sign-in").close());
  $("token-forget").addEventListener("click", signOut);
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("token").value.trim().replace(/^Bearer /i, "");
    if (text) use(text);
  });
  $("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tryToSignIn($("sign-in-name").value.trim(), $("sign-in-password").value);
  });
  onChange(() => {
    $("sign-in").close();
    show();
  });
  show();
}

async function tryToSignIn(name, password) {
  try {
    await signIn(name, password);
    $("sign-in-password").value = "";
  } catch (error) {
    $("sign-in-fault").textContent =
      error instanceof TypeError ? "The gateway does not respond. Check that it is running, and try again." : error.message;
  }
}

function show() {
  const { username, email } = claims();
  const name = token() && (username ?? email ?? "token") + (isOver() ? " (expired)" : "");
  $("account").hidden = false;
  $("account").textContent = name ?? "Sign in";
  $("account").setAttribute("aria-label", name ? `Signed in as ${name}. Change` : "Sign in");
  $("token-forget").hidden = !name;
  document.body.classList.toggle("signed-in", Boolean(name) && !isOver());
}

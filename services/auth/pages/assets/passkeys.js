// Passkeys on the pages of auth. Without this script, or without passkeys in the browser, its buttons stay hidden.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const named = (list) => (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));

/** Convert the server's options to the form that the browser expects. */
function read(options) {
  const read = { ...options, challenge: bytes(options.challenge) };
  if (options.user) read.user = { ...options.user, id: bytes(options.user.id) };
  if (options.excludeCredentials) read.excludeCredentials = named(options.excludeCredentials);
  if (options.allowCredentials) read.allowCredentials = named(options.allowCredentials);
  return read;
}

/** Convert the passkey to the form that the server expects. */
function written(credential) {
  const { id, type, response } = credential;
  const parts = { clientDataJSON: text(response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) parts[name] = text(response[name]);
  }
  return JSON.stringify({ id, type, rawId: text(credential.rawId), response: parts });
}

async function optionsToSignIn() {
  const answer = await fetch("/auth/passkeys/options", { method: "POST" });
  if (!answer.ok) throw new Error(answer.status === 429 ? "Too many attempts. Wait a little." : "Try again later.");
  return answer.json();
}

function whatFailed(error) {
  if (error.name === "NotAllowedError") return "No passkey was used, or it took too long. Try again.";
  if (error.name === "InvalidStateError") return "This device has a passkey for your account already.";
  return error instanceof DOMException ? "This browser cannot use passkeys here." : error.message;
}

async function use(button) {
  const form = button.form, isNew = button.dataset.passkey === "create";
  const fault = form.querySelector("[data-passkey-fault]");
  fault.hidden = true;
  button.setAttribute("aria-busy", "true");
  try {
    const publicKey = read(isNew ? JSON.parse(button.dataset.options) : await optionsToSignIn());
    const credential = await navigator.credentials[isNew ? "create" : "get"]({ publicKey });
    form.elements.credential.value = written(credential);
    if (button.dataset.action) form.action = button.dataset.action;
    form.submit(); // not requestSubmit: the fields for the password stay empty
  } catch (error) {
    fault.querySelector(".t").textContent = whatFailed(error);
    fault.hidden = false;
  } finally {
    button.removeAttribute("aria-busy");
  }
}

const isAddress = /^[0-9.]+$|^\[/.test(location.hostname); // browsers create passkeys only for host names
if (isAddress) {
  for (const place of document.querySelectorAll("[data-passkey-elsewhere]")) place.hidden = false;
  for (const place of document.querySelectorAll("[data-passkey-here]")) place.hidden = true;
} else if (window.PublicKeyCredential) {
  for (const place of document.querySelectorAll("[data-passkey-only]")) place.hidden = false;
  for (const button of document.querySelectorAll("[data-passkey]")) {
    button.hidden = false;
    button.addEventListener("click", () => use(button));
  }
}

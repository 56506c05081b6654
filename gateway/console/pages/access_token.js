// @ts-check
// A new personal access token, shown once.

import { html } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Exact, Icon, copyText } from "../parts/ui.js";

/** @param {{made: any, onClose: () => void}} props */
export function AccessToken({ made, onClose }) {
  const copy = () => copyText(made.token, "The token is copied.", "Select the token and copy it by hand.");
  return html`<${Dialog} label="Personal access token" onClose=${onClose}><div class="in"><h2>The token ${made.name}</h2>
      <p>Copy it now: it is shown only once. Whoever has it can act for you as far as its scopes allow.</p>
      <pre class="box" tabindex="0" role="region" aria-label="Token">${made.token}</pre>
      <p class="muted">${made.scopes.join(" ")}${made.expires && html`<br />Valid until <${Exact} at=${made.expires} />`}</p>
      <p>Send it as a bearer token:</p><pre class="box" tabindex="0" role="region" aria-label="Example">${`curl ${location.origin}/orders -H "Authorization: Bearer $TOKEN"`}</pre></div>
    <footer><button class="btn" type="button" onClick=${onClose}>I have stored it</button>
      <button class="btn primary" type="button" onClick=${copy}><${Icon} name="copy" />Copy token</button></footer>
  <//>`;
}

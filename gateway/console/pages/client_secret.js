// @ts-check
// The secret of a client, shown once.

import { html } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { CopyId, Exact, Icon, copyText } from "../parts/ui.js";

/** @param {{secret: {name: string, id: string, text: string, isProgram: boolean, expires: string | null}, onClose: () => void}} props */
export function ClientSecret({ secret, onClose }) {
  const copy = () => copyText(secret.text, "The secret is copied.", "Select the secret and copy it by hand.");
  const curl = `curl ${location.origin}/oauth/token -u "${secret.id}:$CLIENT_SECRET" -d grant_type=client_credentials`;
  return html`<${Dialog} label="Client secret" onClose=${onClose}><div class="in"><h2>The secret of ${secret.name}</h2>
      <p>Copy it now: it is shown only once. Whoever has it can act as this client.</p>
      <pre class="box" tabindex="0" role="region" aria-label="Client secret">${secret.text}</pre>
      <p class="muted">Client id <${CopyId} id=${secret.id} what="the client id" /></p>
      ${secret.expires && html`<p class="muted">The previous secret is valid until <${Exact} at=${secret.expires} />.</p>`}
      ${secret.isProgram && html`<p>Get a token with it:</p><pre class="box" tabindex="0" role="region" aria-label="Example">${curl}</pre>`}</div>
    <footer><button class="btn" type="button" onClick=${onClose}>I have stored it</button>
      <button class="btn primary" type="button" onClick=${copy}><${Icon} name="copy" />Copy secret</button></footer>
  <//>`;
}

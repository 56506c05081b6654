// The list of leased ports: opens them, closes them, and leases new ones.

import { ask } from "./session.js";

const $ = (id) => document.getElementById(id);
const VISITORS = { private: "Only you", members: "Every account", public: "Everybody" };
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });

/** Shows the list; `mayChange` is whether this token may lease, open and close ports. */
export async function showPorts(mayChange) {
  $("lease").hidden = !mayChange;
  $("ports").showModal();
  $("lease").onsubmit = (event) => {
    event.preventDefault();
    act(mayChange, async () => {
      const { valueAsNumber: port } = $("port");
      await ask("POST", "/terminal/ports", { port: Number.isNaN(port) ? null : port, visibility: $("visibility").value });
      $("port").value = "";
    });
  };
  await update(mayChange);
}

async function act(mayChange, work) {
  say("");
  try {
    await work();
  } catch (error) {
    say(textOf(error));
  }
  await update(mayChange);
}

function textOf(error) {
  if (error instanceof TypeError) return "The server does not respond. Try again later.";
  return error.body?.lease ? "You have leased this port already." : error.message;
}

const say = (text) => { $("ports-fault").textContent = text; };

async function update(mayChange) {
  try {
    const ports = await ask("GET", "/terminal/ports");
    $("ports-list").replaceChildren(...ports.map((lease) => row(lease, mayChange)));
    $("ports-none").hidden = ports.length > 0;
  } catch (error) {
    say(textOf(error));
  }
}

function row(lease, mayChange) {
  const item = document.createElement("li");
  const title = element("strong", `${lease.port}`);
  const state = element("span", lease.listening ? "running" : "no program listens");
  state.className = lease.listening ? "good" : "";
  const about = element("p", `${VISITORS[lease.visibility]} can open it, until ${time.format(new Date(lease.expires))}`);
  const head = document.createElement("div");
  head.append(title, " ", state, about);
  item.append(head);
  if (mayChange) {
    const named = `port ${lease.port}`;
    item.append(button("Open", named, () => act(mayChange, () => visit(lease))));
    item.append(button("Close", named, () => act(mayChange, () => ask("DELETE", `/terminal/ports/${lease.id}`))));
  }
  return item;
}

/** Opens the port in a new page, which is opened before the request so that no browser blocks it. */
async function visit(lease) {
  const page = open("", "_blank");
  try {
    const { url } = await ask("POST", `/terminal/ports/${lease.id}/visits`);
    if (!page) throw new Error("The browser has blocked the new page.");
    page.opener = null; // programs at ports are not trusted
    page.location.replace(url);
  } catch (error) {
    page?.close();
    throw error;
  }
}

function button(text, about, work) {
  const made = element("button", text);
  made.type = "button";
  made.setAttribute("aria-label", `${text} ${about}`);
  made.addEventListener("click", work);
  return made;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

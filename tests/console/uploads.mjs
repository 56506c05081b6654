// Uploads of the console, against a service whose connections break in the way that each plan says.
// Usage: node uploads.mjs, beside the modules; prints what happened in each plan.

const TEXT = "hello, gatehouse";
let plan = [], requests = [], stored = "", held = null;

/** The service has one upload. Each request takes the next word of the plan; afterwards all is well. */
globalThis.XMLHttpRequest = class {
  upload = {};
  #headers = {};
  open(method) { this.method = method; }
  setRequestHeader(name, value) { this.#headers[name] = value; }
  getResponseHeader(name) { return { "Location": "/files/uploads/1", "Upload-Offset": this.isMute ? null : String(stored.length) }[name]; }
  abort() { this.onabort(); }
  async send(body) {
    const offset = this.#headers["Upload-Offset"];
    requests.push(offset === undefined ? this.method : `${this.method} ${offset}`);
    const what = plan.shift() ?? "well", text = (await body?.text()) ?? "";
    if (body) this.upload.onprogress?.({ loaded: body.size }); // the socket took all of it
    if (what === "held") return held(this);
    if (what === "died") return this.onerror();
    this.status = this.method === "PATCH" && Number(offset) !== stored.length ? 409 : 204;
    if (this.status === 204) stored += text;
    if (what === "unheard") return this.onerror();
    this.isMute = what === "mute";
    return this.onload();
  }
};
globalThis.document = { documentElement: { dataset: {} } };
globalThis.location = { pathname: "/console/files", search: "", origin: "http://localhost" };
globalThis.localStorage = { setItem() {}, getItem() { return null; }, removeItem() {} };
globalThis.setTimeout = (work) => setImmediate(work); // the waits before another try are not tested

const { add, forgetDone, pause, resume, uploads } = await import("./core/uploads.js");
const { effect } = await import("./core/view.js");

/** Upload the file; returns what the service was asked, and what it had when the upload was shown as done. */
async function upload(words, meanwhile = async () => {}) {
  [plan, requests, stored] = [words.split(" "), [], ""];
  const isHeld = new Promise((resolve) => { held = resolve; });
  add([Object.assign(new Blob([TEXT]), { name: "a.txt", lastModified: 1 })]);
  const [{ key }] = uploads.value;
  await meanwhile(key, isHeld);
  await new Promise((resolve) => effect(() => { if (["done", "failed"].includes(uploads.value[0]?.state)) resolve(); }));
  const seen = { state: uploads.value[0].state, isWhole: stored === TEXT, requests };
  forgetDone();
  return seen;
}

console.log(JSON.stringify({
  "the connection dies, and the next two as well": await upload("well died died died"),
  "the response is lost": await upload("well unheard"),
  "the response does not say how much is stored": await upload("well mute"),
  "paused before the response": await upload("well held", async (key, isHeld) => {
    await isHeld;
    pause(key);
    await new Promise(setImmediate);
    resume(key);
  }),
}));

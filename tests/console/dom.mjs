// As much of a browser's document as the console's components need to be drawn in Node, without layout.

class Element {
  childNodes = [];
  parentNode = null;
  attributes = {};
  style = {};
  checked = false;
  onclick = null;
  onchange = null;
  onclose = null; // these names tell which events there are
  #listeners = new Map();
  constructor(type, data) { Object.assign(this, { localName: type, nodeType: type ? 1 : 3, data }); }
  get firstChild() { return this.childNodes[0] ?? null; }
  get nextSibling() { return this.parentNode?.childNodes[this.parentNode.childNodes.indexOf(this) + 1] ?? null; }
  get textContent() { return this.data ?? this.childNodes.map((one) => one.textContent).join(""); }
  insertBefore(child, next) {
    child.parentNode?.removeChild(child);
    this.childNodes.splice(next ? this.childNodes.indexOf(next) : this.childNodes.length, 0, child);
    child.parentNode = this;
    return child;
  }
  appendChild(child) { return this.insertBefore(child, null); }
  removeChild(child) {
    this.childNodes.splice(this.childNodes.indexOf(child), 1);
    child.parentNode = null;
  }
  remove() { this.parentNode?.removeChild(this); }
  contains(other) { return other === this || this.childNodes.some((one) => one.contains(other)); }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  removeAttribute(name) { delete this.attributes[name]; }
  addEventListener(type, listener) { this.#listeners.set(type, listener); }
  removeEventListener(type) { this.#listeners.delete(type); }
  fire(type) { this.#listeners.get(type).call(this, { type, target: this }); }
  showModal() {}
  close() {}
  /** All elements below this one. */
  get all() { return this.childNodes.filter((one) => one.nodeType === 1).flatMap((one) => [one, ...one.all]); }
}

globalThis.HTMLElement = globalThis.Element = Element;
globalThis.document = {
  documentElement: { dataset: {} },
  createElement: (type) => new Element(type),
  createElementNS: (_, type) => new Element(type),
  createTextNode: (text) => new Element("", text),
};
globalThis.matchMedia = () => ({ matches: false, addEventListener() {} });
globalThis.requestAnimationFrame = (work) => setImmediate(work);
globalThis.cancelAnimationFrame = clearImmediate;

/** Wait until something is there. */
export async function until(found) {
  for (;;) {
    const it = found();
    if (it) return it;
    await new Promise(setImmediate);
  }
}

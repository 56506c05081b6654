// A browser at /terminal/: types Japanese, resizes, loses the network during output, reloads, leases a port.
// Usage: node terminal_browser.cjs CHROMIUM GATEWAY_PORT NAME PASSWORD OFFLINE_SECONDS. It prints one JSON object.

const net = require("node:net");
const { chromium } = require("playwright-core");

const [program, port, name, password, offlineSeconds] = process.argv.slice(2);

/** A TCP proxy to the gateway that can be disconnected. */
class Line {
  constructor() {
    this.isCut = false;
    this.sockets = new Set();
    this.server = net.createServer((socket) => {
      if (this.isCut) return socket.destroy();
      const other = net.connect(Number(port), "127.0.0.1");
      for (const [one, to] of [[socket, other], [other, socket]]) {
        this.sockets.add(one);
        one.on("error", () => {}).on("close", () => { this.sockets.delete(one); to.destroy(); });
        one.pipe(to);
      }
    });
  }
  listen() {
    return new Promise((done) => this.server.listen(0, "127.0.0.1", () => done(this.server.address().port)));
  }
  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.destroy();
  }
}

async function main() {
  const line = new Line();
  const url = `http://localhost:${await line.listen()}/terminal/`;
  const browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox"] });
  const page = await browser.newPage({ viewport: { width: 1000, height: 600 } });
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  const isOpen = () => page.waitForSelector("body[data-state=open]", { timeout: 30_000 });
  const text = () => page.evaluate(() => document.querySelector(".xterm-rows").innerText.replaceAll("\u00a0", " ").trimEnd());
  const shows = (words) => page.waitForFunction(
    (wanted) => document.querySelector(".xterm-rows").innerText.includes(wanted), words, { timeout: 60_000 });

  await page.goto(url);
  await page.fill("#name", name);
  await page.fill("#password", password);
  await page.click("#sign-in button");
  await isOpen();
  await page.keyboard.insertText("stty size; echo 'こんにちは、''世界'");
  await page.keyboard.press("Enter");
  await shows("こんにちは、世界");
  const before = await text();
  await page.setViewportSize({ width: 700, height: 400 });
  const [size] = before.match(/^\d+ \d+$/m);
  await page.keyboard.insertText(`clear; while [ "$(stty size)" = "${size}" ]; do sleep 0.1; done; stty size; echo si''zed`);
  await page.keyboard.press("Enter");
  await shows("sized");
  const after = await text();

  await page.keyboard.insertText("clear; for i in $(seq 1 60); do echo 行$i; sleep 0.1; done; echo fin''ished");
  await page.keyboard.press("Enter");
  await shows("行5");
  line.cut();
  await page.waitForSelector("body[data-state=waiting]");
  await new Promise((done) => setTimeout(done, offlineSeconds * 1000));
  line.isCut = false;
  await isOpen();
  await shows("finished");
  const whole = await page.evaluate(() => document.querySelector(".xterm-rows").innerText);
  const shown = await text();
  await page.reload();
  await isOpen();
  await shows("finished");
  const reloaded = await text();
  const rows = () => page.locator("#ports-list li");
  await page.click("#show-ports");
  await page.fill("#port", "8123");
  await page.click("#lease button");
  await rows().first().waitFor();
  const leased = await rows().allInnerTexts();
  await rows().getByRole("button", { name: "Close port 8123" }).click();
  await page.waitForSelector("#ports-none:not([hidden])");
  await browser.close();
  line.server.close();
  console.log(JSON.stringify({ before, after, whole, shown, reloaded, leased, faults }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

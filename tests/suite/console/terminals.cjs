// Terminals: a shell that is left, lost, found again and ended; and the files beside it.

const SCREEN = ".term:not([hidden]) .xterm-rows";

async function asUser({ given, page, keys, go, press, done, expectRefusal, enter, look, found }) {
  let isDown = false, open = [];
  await page.routeWebSocket(/\/terminal\/ws/, (socket) => {
    if (isDown) {
      socket.close({ code: 1012 });
      return;
    }
    socket.connectToServer();
    open.push(socket);
  });
  const requested = [];
  page.on("request", (request) => requested.push(new URL(request.url()).pathname));
  const shows = (text) => page.locator(SCREEN, { hasText: text }).waitFor();
  const type = (text) => page.keyboard.type(`${text}\n`);
  const isConnected = () => page.locator(".statusline").getByText("Connected", { exact: true }).waitFor();

  await enter("/console", given.user);
  await page.locator(".tile").first().waitFor();
  await keys("gx");
  await page.getByRole("heading", { name: "No shell in this tab" }).waitFor();
  await look("terminals-empty");
  found.early = requested.filter((path) => path.includes("xterm.js"));

  // By keyboard alone: into the shell, and out of it.
  await page.getByRole("button", { name: "Start a shell" }).press("Enter");
  await isConnected();
  await page.locator(".xterm-helper-textarea:focus").waitFor();
  await type("PS1='$ '; clear; echo alpha-$((40+2))");
  await shows("alpha-42");
  await page.keyboard.press("Control+k"); // belongs to the shell, not to the palette
  if (await page.locator("dialog[open]").count()) throw new Error("the palette took a key of the shell");
  await page.keyboard.press("Control+Shift+Enter");
  await page.locator(".termtab [aria-current]:focus").waitFor();
  done("worked in a shell by keyboard, and left it");

  // Colours come from constructed style sheets, and those of 24 bits from properties: the policy refuses neither.
  await page.locator(".xterm-helper-textarea").focus();
  await type(String.raw`printf '\033[31mcrimson\033[0m \033[38;2;0;90;200mazure\033[0m\n'`);
  await page.locator(`${SCREEN} span`, { hasText: /^crimson$/ }).waitFor();
  found.colours = await page.evaluate((screen) => {
    const spans = [...document.querySelectorAll(`${screen} span`)];
    return ["crimson", "azure"].map((word) => getComputedStyle(spans.find((one) => one.textContent === word)).color);
  }, SCREEN);
  await type(String.raw`printf '\033]0;%s\007' '<img src=x onerror="window.pwned = 1">'`);
  await page.locator(".termtab", { hasText: '<img src=x onerror="window.pwned = 1">' }).waitFor();
  await look("terminal");
  done("saw colours, and a title as text");

  // The connection is lost while a program writes.
  await type("until [ -e go ]; do sleep 0.1; done; echo while-$((7*6))-away");
  isDown = true;
  open.splice(0).forEach((socket) => socket.close({ code: 1012 }));
  await page.getByText("The connection is lost.").waitFor();
  await look("terminal-lost");
  await page.evaluate(() => fetch("/terminal/files/content?path=go", { method: "PUT", body: "now", headers: { "If-None-Match": "*" } }));
  isDown = false;
  await shows("while-42-away");
  await isConnected();
  const text = await page.locator(SCREEN).innerText();
  if (text.split("while-42-away").length !== 2) throw new Error(`the output came twice: ${text}`);
  await page.reload();
  await isConnected();
  await shows("while-42-away");
  done("lost nothing when the connection and the page were gone");

  // Back from another page shows the page that the browser has kept; the connection ended when it was left.
  await page.evaluate(() => ["pagehide", "pageshow"].forEach((name) => dispatchEvent(new PageTransitionEvent(name, { persisted: true }))));
  await page.locator(".xterm-helper-textarea:focus").waitFor();
  await shows("while-42-away");
  await isConnected();
  await type("echo back-$((3*3))");
  await shows("back-9");
  done("went on after Back");

  await files({ page, press, done, expectRefusal, look, shows, type });

  // A second tab has a shell and a name of its own.
  await press("New shell in a new tab");
  await page.getByRole("link", { name: "Shell 2" }).waitFor();
  await isConnected();
  await type("echo second-$((1+1))");
  await shows("second-2");
  await press("More");
  await page.getByRole("link", { name: "Rename tab" }).click();
  await page.getByLabel("Name", { exact: true }).fill("Build");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Build" }).waitFor();
  await press("Close Build");
  await look("terminal-end");
  await page.getByRole("dialog").getByRole("button", { name: "End shell" }).click();
  await page.getByRole("link", { name: "Build" }).waitFor({ state: "detached" });
  done("opened, named and ended a second shell");

  await shows("while-42-away");
  await page.locator(".term:not([hidden]) .xterm-helper-textarea").focus();
  await type("exit 3");
  await page.getByText("Ended with code 3.").waitFor();
  await look("terminal-ended");
  await press("New shell");
  await isConnected();
  await go("/console/terminals?tab=1");
  await isConnected();
  done("started again after the end");
}

/** Do `work` while the first request with this method to a path, which `start` causes, waits. */
async function holding(page, path, method, start, work) {
  let release, caught;
  const isHeld = new Promise((done) => { caught = done; }), isFree = new Promise((done) => { release = done; });
  const isMeant = (url) => url.pathname === path;
  await page.route(isMeant, async (route) => {
    if (route.request().method() === method) {
      caught();
      await isFree;
    }
    await route.continue();
  });
  await start();
  await isHeld;
  await work();
  release();
  await page.unroute(isMeant, { behavior: "wait" });
}

async function files({ page, press, done, expectRefusal, look, shows, type }) {
  await page.getByRole("link", { name: "Show files" }).click();
  await page.getByRole("link", { name: "go", exact: true }).waitFor();
  await look("terminal-files");
  await page.getByRole("link", { name: "New file" }).click();
  await page.getByLabel("Path", { exact: true }).fill("notes/todo.txt");
  await page.keyboard.press("Enter");
  const area = page.getByLabel("Content of notes/todo.txt");
  await area.fill("one\n");
  await page.getByText("not saved").waitFor();
  await page.reload(); // what was typed survives
  await area.waitFor();
  if ((await area.inputValue()) !== "one\n") throw new Error("the text is lost");
  await area.press("Control+s");
  await page.getByText("Saved todo.txt.").waitFor();
  await look("terminal-editor");

  // What is typed while the file is being saved survives a reload as well, and is saved over the new version.
  await holding(page, "/terminal/files/content", "PUT", async () => {
    await area.fill("two\n");
    await area.press("Control+s");
  }, () => area.fill("two\nthree\n"));
  await page.getByRole("button", { name: "Save file" }).waitFor();
  await page.reload();
  await area.waitFor();
  if ((await area.inputValue()) !== "two\nthree\n") throw new Error("what was typed while saving is lost");
  await area.press("Control+s");
  await page.getByText("Saved todo.txt.").waitFor();

  // All files of one upload go to one folder, even if another is opened meanwhile.
  await page.getByRole("button", { name: "notes", exact: true }).waitFor();
  await page.locator(".cutpath", { hasText: /^~\/$/ }).waitFor();
  await holding(page, "/terminal/files/content", "PUT", () => page.getByLabel("Files to upload").setInputFiles(["first.txt", "second.txt"].map((name) => ({ name, mimeType: "text/plain", buffer: Buffer.from(name) }))), async () => {
    await page.getByRole("button", { name: "notes", exact: true }).click();
    await page.locator(".cutpath", { hasText: "~/notes" }).waitFor();
  });
  await page.getByText("Uploaded second.txt.").waitFor();
  await page.getByRole("button", { name: "notes", exact: true }).click();
  await page.getByRole("link", { name: "second.txt", exact: true }).waitFor();

  // A program changes the file meanwhile.
  await page.evaluate(async () => {
    const address = "/terminal/files/content?path=notes/todo.txt", { headers } = await fetch(address);
    await fetch(address, { method: "PUT", body: "theirs\n", headers: { "If-Match": headers.get("etag") } });
  });
  await area.fill("mine-$((2+3))\n");
  await expectRefusal(async () => {
    await press("Save file");
    await page.getByText("The file was changed meanwhile.").waitFor();
  });
  await look("terminal-editor-stale");
  await press("Save mine over it");
  await page.getByText("The file was changed meanwhile.").waitFor({ state: "detached" });
  await page.getByRole("link", { name: "Close file" }).click();
  await page.locator(".term:not([hidden]) .xterm-helper-textarea").focus();
  await type(". /dev/stdin <<< \"echo $(cat notes/todo.txt)\"");
  await shows("mine-5");
  await page.getByRole("button", { name: "notes", exact: true }).click();
  await page.getByRole("link", { name: "todo.txt" }).click();
  await press("Delete file");
  await press("Undo");
  await page.getByText("todo.txt is back.").waitFor();
  await page.getByRole("link", { name: "Hide files" }).click();
  done("edited a file that changed meanwhile, and took back its removal");
}

module.exports = { asUser };

// Files: uploaded in pieces, through a break and a reload; shown, shared, deleted and restored.

const MEGABYTE = 1024 * 1024;

async function asUser({ given, page, keys, drawer, press, done, down, go, expectRefusal, enter, look }) {
  const name = `${given.planted[1]}.txt`, text = given.planted[0];
  const chooser = (label) => page.locator("main").getByLabel(label, { exact: true });
  await enter("/console/files", given.user);
  await page.getByText("No files yet").waitFor();
  await look("files-empty");

  // By keyboard: the key opens the browser's own dialog.
  const chosen = page.waitForEvent("filechooser");
  await page.evaluate(() => document.title); // the browser now waits for the dialog
  await page.keyboard.press("n");
  await (await chosen).setFiles({ name, mimeType: "text/plain", buffer: Buffer.from(text) });
  await page.getByText("1 of 1 done").waitFor();
  await page.getByRole("link", { name, exact: true }).waitFor();
  done("uploaded a file by keyboard");

  // A piece is lost on the way, twice; the upload waits and goes on, while the person is elsewhere.
  let broken = 0;
  await page.route(/\/files\/uploads\/[0-9a-f-]+$/, (route) => {
    if (route.request().method() !== "PATCH" || broken === 2) return route.fallback();
    broken += 1;
    return route.abort();
  });
  await expectRefusal(async () => {
    await chooser("Files to upload").setInputFiles({ name: "long.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(9 * MEGABYTE, 7) });
    await keys("go");
    await page.getByRole("heading", { level: 1, name: "Orders" }).waitFor({ state: "attached" });
    await page.getByText("2 of 2 done").waitFor();
  });
  if (broken !== 2) throw new Error("nothing was broken");
  await look("files-dock");
  await page.unroute(/\/files\/uploads\/[0-9a-f-]+$/);
  done("went elsewhere while a broken upload went on");

  // The page is loaded anew in the middle: the same file, chosen again, goes on where it stopped.
  await go("/console/files");
  let pieces = 0, isStuck;
  const stuck = new Promise((resolve) => { isStuck = resolve; });
  await page.route(/\/files\/uploads\/[0-9a-f-]+$/, (route) => {
    if (route.request().method() !== "PATCH" || ++pieces === 1) return route.fallback();
    return isStuck(); // the second piece never arrives
  });
  await chooser("Files to upload").setInputFiles(given.file);
  await stuck;
  page.once("dialog", (asked) => asked.accept());
  await go("/console/orders");
  await page.unroute(/\/files\/uploads\/[0-9a-f-]+$/);
  await page.getByText(/^Stopped at 4\.2 MB of 9\.4 MB/).waitFor();
  await look("files-lost");
  const offsets = [];
  page.on("request", (one) => { if (one.method() === "PATCH") offsets.push(one.headers()["upload-offset"]); });
  await page.getByRole("region", { name: "Uploads" }).locator("input[type=file]").setInputFiles(given.file);
  await page.getByText("1 of 1 done").waitFor();
  if (offsets[0] !== String(4 * MEGABYTE)) throw new Error(`it went on at ${offsets[0]}`);
  done("went on with an upload after a reload");

  await go("/console/files?type=text/*");
  await page.getByRole("link", { name, exact: true }).click();
  await drawer(name);
  await page.locator("pre.preview").getByText(text).waitFor();
  await press("Make a link");
  await page.getByLabel("At most this many downloads").fill("none");
  await expectRefusal(async () => {
    await press("Make link");
    await page.locator("#field-downloads_max[aria-invalid=true]").waitFor();
  });
  await page.getByLabel("At most this many downloads").fill("3");
  await press("Make link");
  const link = await page.locator("#made-link").inputValue();
  await look("file-shared");
  const fetched = await page.request.get(link);
  if ((await fetched.text()) !== text) throw new Error(`the link leads to ${fetched.status()}`);
  await press("Revoke");
  await page.getByRole("complementary").getByText("No links.").waitFor();
  if ((await page.request.get(link)).status() !== 404) throw new Error("a revoked link still works");
  await press("Make public");
  await page.getByRole("status").getByRole("button", { name: "Undo" }).last().click();
  await page.getByRole("complementary").getByRole("button", { name: "Make public" }).waitFor();
  done("shared a file, and took that back");

  await press("Delete");
  await page.getByRole("complementary").waitFor({ state: "detached" });
  await page.getByRole("status").getByRole("button", { name: "Undo" }).last().click();
  await page.getByRole("link", { name, exact: true }).click();
  await press("Rename");
  await page.getByLabel("Name", { exact: true }).fill("renamed.txt");
  await page.getByLabel("Name", { exact: true }).press("Enter");
  await drawer("renamed.txt");
  await press("Delete");
  await page.getByRole("link", { name: "Trash", exact: true }).click();
  await page.getByRole("link", { name: "renamed.txt" }).click();
  await look("files-trash");
  await press("Delete for good");
  await page.getByRole("dialog").getByRole("button", { name: "Delete file" }).click();
  await page.getByText("The trash is empty").waitFor();
  done("deleted a file, restored it, and deleted it for good");

  await down("/files", async () => {
    await go("/console/files");
    await page.getByText("files cannot respond now.").waitFor();
    await look("files-down");
  });
  await press("Try again");
  await page.locator(".rowlink").first().waitFor();
  await look("files");
  done("saw the service fail and come back");
}

module.exports = { asUser };

// Uses a terminal by socket.io-client as the pages of 3Compute do. Arguments: URL, TOKEN, TRANSPORTS, SECONDS.
const { io } = require("socket.io-client");

const [url, token, transports, seconds] = process.argv.slice(2);
setTimeout(() => {
  console.error(`not done within ${seconds} s; so far: ${JSON.stringify(seen)}`);
  process.exit(1);
}, Number(seconds) * 1000);
const options = (headers) => ({
  query: { tabId: "npm" }, withCredentials: true, transports: transports.split(","), extraHeaders: headers, forceNew: true,
});
const signedIn = { Authorization: `Bearer ${token}` };
const seen = {};

function until(socket, text, collected = { output: "" }) {
  return new Promise((resolve) => {
    socket.on("pty-output", ({ output }) => {
      collected.output += output;
      if (collected.output.includes(text)) resolve(collected.output);
    });
  });
}

async function main() {
  const first = io(url, options(signedIn));
  first.on("connect_error", (error) => { throw error; });
  await new Promise((resolve) => first.on("connect", resolve));
  if (transports.startsWith("polling,")) await new Promise((resolve) => first.io.engine.once("upgrade", resolve));
  seen.transport = first.io.engine.transport.name;
  const answered = until(first, "日本語\r\n");
  first.emit("resize", { cols: 101, rows: 33 });
  first.once("pty-output", () => first.emit("pty-input", { input: "stty size; X='still'; echo 日本''語\n" }));
  seen.output = await answered;
  first.disconnect();

  const second = io(url, options(signedIn));
  await new Promise((resolve) => second.on("connect", resolve));
  const again = until(second, "still here\r\n");
  second.emit("resize", { cols: 101, rows: 33 });
  second.once("pty-output", () => second.emit("pty-input", { input: "echo $X here\n" }));
  seen.again = await again;
  const ended = new Promise((resolve) => second.on("terminal-restart-required", () => resolve(true)));
  second.emit("pty-input", { input: "exit\n" });
  seen.ended = await ended;
  second.disconnect();

  const stranger = io(url, options({}));
  seen.unauthorized = await new Promise((resolve) => stranger.on("error", ({ message }) => resolve(message)));
  stranger.disconnect();
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main();

// Connects an xterm.js terminal to a term.v1 WebSocket, and resumes after connection losses.
//
//   const connection = connect(term, { open: async () => new WebSocket(url, ["term.v1"]), onState });
//   connection.resize(rows, cols);   // the size of the window; applies while this viewer leads
//
// `open` is called for every connection. If it throws an error with `final` set, there are no further attempts.

const ACK_BYTES = 32 * 1024;
const INPUT_BYTES = 16 * 1024;
const BUFFERED_BYTES = 256 * 1024;
const PING_MS = 15_000;
const SILENCE_MS = 35_000; // two pings without a pong: the connection is dead, whatever the browser reports
const RETRY_MS = 250;
const RETRY_MS_MAX = 10_000;
const TRY_AGAIN = new Set([1001, 1005, 1006, 1011, 1012, 1013, 4408, 4413]);

/** States: connecting, open, waiting (with `seconds`), ended (with `exit`), failed (with `code` and `reason`). */
export function connect(term, { open, onState = () => {}, onNotice = () => {}, onRoundTrip = () => {} }) {
  let socket = null;
  let epoch = null;
  let received = 0; // the offset of the next byte
  let acknowledged = 0;
  let leads = false;
  let muted = false; // during a replay, drop the terminal's replies to old queries
  let size = { rows: term.rows, cols: term.cols };
  let pause = RETRY_MS;
  let retry, pinging, heard;
  let isOver = false;

  const say = (type, fields = {}) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type, ...fields }));
  };

  async function start() {
    clearTimeout(retry);
    if (isOver || socket) return;
    socket = "opening";
    onState("connecting", {});
    try {
      const opened = await open();
      if (isOver) return opened.close(1000);
      use(opened);
    } catch (error) {
      socket = null;
      if (error.final) fail(error.code ?? 0, error.message);
      else again();
    }
  }

  function use(opened) {
    socket = opened;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      heard = Date.now();
      acknowledged = received;
      say("hello", { ...size, resume: epoch && { epoch, offset: received } });
      pinging = setInterval(ping, PING_MS);
    };
    socket.onmessage = ({ data }) => {
      heard = Date.now();
      if (typeof data === "string") obey(JSON.parse(data));
      else print(new Uint8Array(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (socket !== opened) return;
      lose();
      if (isOver) return;
      if (TRY_AGAIN.has(code)) again();
      else fail(code, reason);
    };
  }

  function lose() {
    clearInterval(pinging);
    socket = null;
  }

  function again() {
    const wait = pause * (0.5 + Math.random() / 2);
    pause = Math.min(pause * 2, RETRY_MS_MAX);
    onState("waiting", { seconds: wait / 1000 });
    retry = setTimeout(start, wait);
  }

  function fail(code, reason) {
    isOver = true;
    stopListening();
    onState("failed", { code, reason });
  }

  function ping() {
    if (Date.now() - heard > SILENCE_MS) {
      const dead = socket;
      lose();
      dead.close();
      again();
    } else say("ping", { time: performance.now() });
  }

  function print(frame) {
    const offset = Number(new DataView(frame.buffer, frame.byteOffset, 8).getBigUint64(0));
    if (offset !== received) return socket.close(4000, "bytes are missing"); // should not happen; reconnecting would fetch them
    received += frame.length - 8;
    const here = received;
    const from = socket;
    term.write(frame.subarray(8), () => {
      if (from !== socket || here - acknowledged < ACK_BYTES) return;
      acknowledged = here;
      say("ack", { offset: here });
    });
  }

  const messages = {
    hello(message) {
      pause = RETRY_MS;
      epoch = message.epoch;
      lead(message.leader);
      onState("open", { mode: message.mode });
    },
    replay({ kind, from, alternate }) {
      if (kind === "tail") return;
      muted = true;
      term.reset();
      if (alternate) term.write("\x1b[?1049h");
      received = acknowledged = from;
    },
    replay_end: () => term.write("", () => { muted = false; }),
    skipped({ offset }) {
      term.reset();
      received = acknowledged = offset;
    },
    size({ rows, cols }) {
      if (rows !== term.rows || cols !== term.cols) term.resize(cols, rows);
    },
    lead: ({ leader }) => lead(leader),
    pong: ({ time }) => onRoundTrip(performance.now() - time),
    notice: (message) => onNotice(message),
    exit(exit) {
      isOver = true;
      stopListening();
      term.write("", () => onState("ended", { exit }));
    },
  };
  const obey = (message) => messages[message.type]?.(message);

  function lead(isLeader) {
    leads = isLeader;
    if (leads && (size.rows !== term.rows || size.cols !== term.cols)) term.resize(size.cols, size.rows);
  }

  async function type(bytes) {
    for (let start = 0; start < bytes.length; start += INPUT_BYTES) {
      while (socket?.bufferedAmount > BUFFERED_BYTES) await new Promise((done) => setTimeout(done, 10));
      if (socket?.readyState !== WebSocket.OPEN) return;
      socket.send(bytes.subarray(start, start + INPUT_BYTES));
    }
  }

  let typing = Promise.resolve(); // in order, so that later input does not interleave with a long paste
  const send = (bytes) => { if (!muted) typing = typing.then(() => type(bytes)); };
  const encoder = new TextEncoder();
  const listeners = [
    term.onData((text) => send(encoder.encode(text))),
    term.onBinary((text) => send(Uint8Array.from(text, (character) => character.charCodeAt(0)))),
  ];
  const wake = () => {
    if (document.visibilityState === "hidden" || isOver) return;
    if (socket === null) {
      pause = RETRY_MS;
      start();
    } else if (socket !== "opening") ping();
  };
  document.addEventListener("visibilitychange", wake);
  addEventListener("online", wake);

  function stopListening() {
    clearTimeout(retry);
    clearInterval(pinging);
    for (const listener of listeners) listener.dispose();
    document.removeEventListener("visibilitychange", wake);
    removeEventListener("online", wake);
  }

  start();
  return {
    /** Sets the size of the window. */
    resize(rows, cols) {
      size = { rows, cols };
      if (leads) term.resize(cols, rows);
      say("resize", size);
    },
    claim: () => say("claim"),
    signal: (signal) => say("signal", { signal }),
    type: (text) => send(encoder.encode(text)),
    /** Disconnects for good; the shell keeps running. */
    close() {
      if (isOver) return;
      isOver = true;
      stopListening();
      if (socket && socket !== "opening") socket.close(1000);
    },
  };
}

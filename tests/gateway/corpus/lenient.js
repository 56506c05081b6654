// A backend that parses as leniently as Node can, and logs what it sees, like recorder.py.
const http = require("node:http");

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const options = {
  insecureHTTPParser: true,
  requireHostHeader: false,
  maxHeaderSize: 1 << 20,
  keepAliveTimeout: 0,
  headersTimeout: 0,
  requestTimeout: 0,
};

const answer = (request, response) => {
  let body = 0;
  const tell = (whole) => say({
    id: request.headers["x-request-id"] ?? "", method: request.method, target: request.url, body, whole,
  });
  request.on("data", (piece) => { body += piece.length; });
  request.on("end", () => {
    tell(true);
    response.setHeader("x-seen", `${request.method} ${request.url}`);
    response.end("seen\n");
  });
  request.on("error", () => tell(false));
};

const server = http.createServer(options, answer);
server.on("checkExpectation", answer);
server.on("clientError", (error, socket) => {
  // A request that is cut off is not a parser error.
  if (!["ECONNRESET", "EPIPE", "HPE_INVALID_EOF_STATE"].includes(error.code)) {
    say({ malformed: `${error.code} ${error.rawPacket}` });
  }
  socket.destroy();
});
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));

// Uploads a file with tus-js-client. Usage: TOKEN=… node tus_client.cjs ENDPOINT FILE CHUNK PARTS PAUSES
const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const tus = createRequire(path.join(process.cwd(), "x.cjs"))("tus-js-client");
const [endpoint, file, chunk, parts, pauses] = process.argv.slice(2);
let pausesLeft = Number(pauses);
let pausedAt = 0;
let isPausing = false;

const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint,
  chunkSize: Number(chunk),
  parallelUploads: Number(parts),
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
  metadata: { filename: path.basename(file), filetype: "application/octet-stream" },
  retryDelays: [100, 200, 400, 800, 1600, 3200, 3200, 3200],
  onProgress(sent, total) {
    console.log(`progress ${sent} ${total}`);
    if (pausesLeft > 0 && !isPausing && sent > pausedAt + total / 8) {
      isPausing = true;
      pausesLeft -= 1;
      pausedAt = sent;
      upload.abort().then(() => {
        console.log("paused");
        isPausing = false;
        upload.start();
      });
    }
  },
  onError(error) {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess() {
    console.log(`done ${upload.url}`);
  },
});
upload.start();

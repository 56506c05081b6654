// express-gateway with the configuration directory that the benchmark writes.
require("express-gateway")().load(process.env.CONFIG).run();

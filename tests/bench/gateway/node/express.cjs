// express-gateway with the configuration folder that the bench writes.
require("express-gateway")().load(process.env.CONFIG).run();

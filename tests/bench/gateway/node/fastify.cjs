// A gateway as in the documentation of @fastify/http-proxy.
const fastify = require("fastify")();

fastify.register(require("@fastify/http-proxy"), { upstream: process.env.BACKEND });
fastify.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });

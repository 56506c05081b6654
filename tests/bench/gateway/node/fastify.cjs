// A gateway as the page of @fastify/http-proxy shows it.
const fastify = require("fastify")();

fastify.register(require("@fastify/http-proxy"), { upstream: process.env.BACKEND });
fastify.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });

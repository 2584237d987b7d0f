// An exporter that a user could write in an afternoon on Node.js. It counts in memory only. The argument is the port.
"use strict";

const fastify = require("fastify")();
const { Counter, register } = require("prom-client");

const failures = new Counter({
  name: "smtpeter_failures_total",
  help: "Failed deliveries.",
  labelNames: ["state", "code_class", "extended"],
});

fastify.register(require("@fastify/formbody"));

fastify.post("/failures", async (request) => {
  const { state = "none", code = "", extended = "" } = request.body;
  failures.inc({ state, code_class: code ? `${code[0]}xx` : "none", extended });
  return "";
});

fastify.get("/metrics", async (_request, reply) => {
  reply.type(register.contentType);
  return register.metrics();
});

fastify.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 1024 });

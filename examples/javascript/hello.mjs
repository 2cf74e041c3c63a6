// A third-party service: GET /x/hello/greet/{name} through the gateway. README.md beside this says how to start it.
import { connect, credsAuthenticator, headers } from "nats";
import { readFileSync } from "node:fs";

const nc = await connect({
  servers: process.env.STARLIGHT_NATS_URL ?? "nats://127.0.0.1:4222",
  authenticator: credsAuthenticator(readFileSync(process.env.STARLIGHT_NATS_CREDS)),
  inboxPrefix: "_INBOX_x_hello",
});
const service = await nc.services.add({ name: "hello", version: "1.0.0", description: "says hello" });
service.addEndpoint("greet", {
  subject: "x.hello.greet",
  metadata: { method: "GET", path: "/greet/{name}", access: "user" },
  handler: (err, msg) => {
    const name = new URLSearchParams(msg.headers.get("Starlight-Params")).get("name");
    if (name === "nobody") return msg.respondError(404, "nobody is not there");
    const [user] = msg.headers.get("Starlight-Principal").split(";"); // verified by the gateway
    msg.respond(JSON.stringify({ greeting: `Hello, ${name}`, from: user }));
  },
});
console.log("hello serves");

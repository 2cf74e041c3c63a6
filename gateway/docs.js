"use strict";

// The ids of examples stand for things of the system at hand: the last of each kind that an answer had.
const ids = /\b([a-z]{3})_[0-9a-z]{26}\b/g;
const members = /"(refresh_token|code|secret)":\s*"([^"]*)"/g;
const last = {};

const learn = (text) => {
  for (const [id, kind] of text.matchAll(ids)) last[kind] = id;
  for (const [, name, value] of text.matchAll(members)) last[name] = value;
};

// What is not an example stays as it was typed.
const examples = new Set();
const placeholders = /"the (refresh_token|code|secret) of the last answer that had one"/g;
const fill = (text) => text
  .replace(ids, (id, kind) => examples.has(id) && last[kind] || id)
  .replace(placeholders, (text, name) => last[name] ? JSON.stringify(last[name]) : text);

const start = async () => {
  const spec = await (await fetch("/openapi.json")).json();
  for (const [id] of JSON.stringify(spec.paths).matchAll(ids)) examples.add(id);
  learn(await (await fetch("/v1/events?limit=1")).text());
  window.ui = SwaggerUIBundle({
    spec,
    dom_id: "#ui",
    deepLinking: true,
    persistAuthorization: false,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
    requestInterceptor: (request) => {
      request.url = fill(request.url);
      if (typeof request.body === "string") request.body = fill(request.body);
      return request;
    },
    responseInterceptor: (response) => {
      if (typeof response.text === "string" && response.ok) {
        learn(response.text);
        const token = /"access_token":\s*"([^"]*)"/.exec(response.text);
        if (token) window.ui.preauthorizeApiKey("bearer", token[1]);
      }
      return response;
    },
  });
};
start();

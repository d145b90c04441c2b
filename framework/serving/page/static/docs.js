// Renders the OpenAPI document.
import { byId, call, element, unlock } from "./api.js";

let root;
const inline = new Map();  // objects that have a title, but no name in the document

await unlock(async () => {
  root = await (await call("openapi.json")).json();
  document.title = `${root.info.title}: API`;
  byId("name").textContent = `${root.info.title}: API`;
  byId("about").textContent = `version ${root.info.version}`;
  const operations = Object.entries(root.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => describe(method.toUpperCase(), path, operation)));
  const schemas = Object.entries(root.components.schemas).filter(([, schema]) => schema.properties);
  const parts = [...schemas, ...inline].map(([name, schema]) => {
    const article = element("article", "", { class: "operation" });
    article.append(element("h2", name.replace(/^_/, "")), element("p", schema.description ?? ""));
    article.append(fields("Fields", properties(schema)));
    return article;
  });
  byId("operations").replaceChildren(...operations, ...parts);
});

function describe(method, path, operation) {
  const article = element("article", "", { class: "operation", "aria-labelledby": operation.operationId });
  const title = element("h2", "", { id: operation.operationId });
  title.append(element("span", method, { class: "method" }), path);
  article.append(title, element("p", `${operation.summary}${operation.security ? "; needs a key" : ""}.`));
  const content = operation.requestBody?.content["application/json"];
  const parameters = (operation.parameters ?? []).map(({ name, in: place, schema, required }) =>
    [name, kind(schema), required ? "required" : "", schema.description ?? `in the ${place}`]);
  if (content) article.append(fields("Body", properties(resolve(content.schema))));
  if (parameters.length) article.append(fields("Parameters", parameters));
  article.append(element("h3", "Example"), element("pre", curl(method, path, operation, content?.example)));
  article.append(answers(operation.responses));
  return article;
}

function properties(schema) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties).map(([name, property]) =>
    [name, kind(property), required.has(name) ? "required" : "", property.description ?? ""]);
}

function fields(title, rows) {
  return table(title, ["Field", "Type", "", "Meaning"], rows);
}

function answers(responses) {
  const rows = Object.entries(responses).map(([status, response]) => [
    status, response.description,
    Object.entries(response.content ?? {}).map(([type, { schema }]) => {
      const event = schema.properties?.data?.anyOf[0].contentSchema;
      return `${type}: ${event ? `events of ${kind(event)}` : kind(schema)}`;
    }).join("; ") || "no body",
  ]);
  return table("Answers", ["Status", "Meaning", "Content"], rows);
}

function table(title, heads, rows) {
  const made = element("table");
  const head = made.createTHead().insertRow();
  made.prepend(element("caption", title));
  head.append(...heads.map((text) => element("th", text, { scope: "col" })));
  const body = made.createTBody();
  for (const [first, ...others] of rows) {
    body.insertRow().append(element("th", first, { scope: "row" }), ...others.map((text) => element("td", text)));
  }
  return made;
}

function resolve(schema) {
  return schema.$ref ? root.components.schemas[schema.$ref.split("/").pop()] : schema;
}

/** Return a schema in a few words. */
function kind(schema) {
  if (schema.title && schema.properties) inline.set(schema.title, schema);
  if (schema.$ref) return schema.$ref.split("/").pop().replace(/^_/, "");
  if (schema.anyOf) return [...new Set(schema.anyOf.map(kind))].join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const type = schema.title && schema.type === "object" && schema.properties ? schema.title : schema.type;
  const bounds = [
    schema.minimum === undefined ? "" : `≥ ${schema.minimum}`,
    schema.exclusiveMinimum === undefined ? "" : `> ${schema.exclusiveMinimum}`,
    schema.maximum === undefined ? "" : `≤ ${schema.maximum}`,
    schema.exclusiveMaximum === undefined ? "" : `< ${schema.exclusiveMaximum}`,
    schema.maxItems === undefined ? "" : `at most ${schema.maxItems}`,
  ].filter(Boolean).join(", ");
  const of = type === "array" && schema.items ? ` of ${kind(schema.items)}` : "";
  return `${type ?? "any"}${of}${bounds ? ` (${bounds})` : ""}`;
}

function curl(method, path, operation, example) {
  const url = new URL(`.${path}`, document.baseURI).href.replaceAll("%7B", "{").replaceAll("%7D", "}");
  const parts = [`curl ${method === "GET" ? "" : `-X ${method} `}${url}`];
  if (operation.security) parts.push("-H 'Authorization: Bearer '\"$KEY\"");
  if (example) parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(example)}'`);
  return parts.join(" \\\n  ");
}

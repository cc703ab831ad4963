// Shows /openapi.json as a readable page. Everything is set as text, nothing as markup.
"use strict";

function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function nameOf(reference) {
  return reference.split("/").pop();
}

function typeOf(schema) {
  const node = make("span");
  if (!schema) return node;
  if (schema.$ref) {
    const link = make("a", nameOf(schema.$ref));
    link.href = "#schema-" + nameOf(schema.$ref);
    node.append(link);
    return node;
  }
  const choices = schema.oneOf || schema.anyOf || schema.allOf;
  if (choices) {
    choices.forEach((choice, index) => {
      if (index > 0) node.append(schema.allOf ? " and " : " or ");
      node.append(typeOf(choice));
    });
    return node;
  }
  if (schema.enum) {
    node.append(schema.enum.map((value) => JSON.stringify(value)).join(" | "));
    return node;
  }
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "any";
  node.append(type + (schema.format ? " (" + schema.format + ")" : ""));
  if (schema.items) node.append(" of ", typeOf(schema.items));
  if (schema.additionalProperties) node.append(" of ", typeOf(schema.additionalProperties));
  return node;
}

function table(headings, rows) {
  const node = make("table");
  const head = make("tr");
  headings.forEach((heading) => head.append(make("th", heading)));
  node.append(head);
  rows.forEach((cells) => {
    const row = make("tr");
    cells.forEach((cell) => {
      const data = make("td");
      data.append(cell);
      row.append(data);
    });
    node.append(row);
  });
  return node;
}

function named(name, needed) {
  const node = make("span");
  node.append(make("code", name));
  if (needed) node.append(make("span", " required", "needed"));
  return node;
}

function operation(path, method, described) {
  const section = make("section");
  section.id = described.operationId;
  const title = make("h2");
  title.append(make("span", method, "method"), make("code", path));
  section.append(title);
  section.append(make("p", [described.summary, described.description].filter(Boolean).join(" ")));
  const secured = (described.security || []).length > 0;
  section.append(make("p", secured ? "Needs Authorization: Bearer KEY." : "Needs no API key."));
  if (described.parameters && described.parameters.length > 0) {
    section.append(make("h3", "Parameters"));
    section.append(table(["name", "in", "type", ""], described.parameters.map((parameter) => [
      named(parameter.name, parameter.required), parameter.in, typeOf(parameter.schema),
      parameter.description || "",
    ])));
  }
  if (described.requestBody) {
    section.append(make("h3", "Body"));
    section.append(table(["media type", "schema"],
      Object.entries(described.requestBody.content).map(([type, content]) => [
        make("code", type), typeOf(content.schema),
      ])));
  }
  section.append(make("h3", "Answers"));
  section.append(table(["status", "", "schema"],
    Object.entries(described.responses).map(([status, response]) => {
      const contents = Object.values(response.content || {});
      return [make("code", status), response.description || "",
        contents.length > 0 ? typeOf(contents[0].schema) : ""];
    })));
  return section;
}

function members(schema) {
  const parts = schema.allOf || [schema];
  return parts.flatMap((part) => Object.entries(part.properties || {}).map(([name, property]) =>
    [named(name, (part.required || []).includes(name)), typeOf(property),
      property.description || ""]));
}

function schemaSection(name, schema) {
  const section = make("section");
  section.id = "schema-" + name;
  section.append(make("h2", name), make("p", schema.description || ""));
  const rows = members(schema);
  section.append(rows.length > 0 ? table(["member", "type", ""], rows) : typeOf(schema));
  return section;
}

function show(description) {
  const main = document.getElementById("reference");
  const index = make("ul");
  main.replaceChildren(make("pre", description.info.description || ""));
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, described] of Object.entries(methods)) {
      const link = make("a", method.toUpperCase() + " " + path);
      link.href = "#" + described.operationId;
      const item = make("li");
      item.append(link);
      index.append(item);
      main.append(operation(path, method, described));
    }
  }
  for (const [name, schema] of Object.entries(description.components.schemas)) {
    main.append(schemaSection(name, schema));
  }
  document.getElementById("index").replaceChildren(index);
}

fetch("/openapi.json")
  .then((response) => response.json())
  .then(show)
  .catch(() => {
    document.getElementById("reference").textContent = "/openapi.json cannot be read.";
  });

/* A form's fields for what an answer may be: one for each property of a JSON schema, or one in all.
 *
 * A field is what one types: it checks nothing, because the server does, and says why not. */

import { element } from "./element.js";
import { written } from "./written.js";

/**
 * Make the fields of a schema, or of `null`: any text.
 *
 * @returns `elements`, and `value()`: the answer, as typed. What cannot be read as what the schema
 *   wants is given as the text that it is. Of a text that should be JSON and is none it throws.
 */
export function fieldsFor(schema, prefix) {
  const whole = resolved(schema ?? { type: "string" }, schema);
  if (whole.type !== "object" || !whole.properties) {
    const field = fieldFor(whole, "Answer", `${prefix}-0`, true);
    return { elements: [field.element], value: field.value };
  }
  const required = whole.required ?? [];
  const fields = Object.entries(whole.properties).map(([name, part], n) => [
    name,
    fieldFor(resolved(part, schema), name, `${prefix}-${n}`, required.includes(name)),
  ]);
  return {
    elements: fields.map(([, field]) => field.element),
    value: () => {
      const given = fields.map(([name, field]) => [name, field.value()]);
      return Object.fromEntries(given.filter(([, value]) => value !== undefined));
    },
  };
}

/** A schema without its references, and without `null` where there is one other thing to be. */
function resolved(part, root, depth = 0) {
  const name = /^#\/\$defs\/(.+)$/.exec(part.$ref ?? "")?.[1];
  const target = name && root.$defs?.[name.replaceAll("~1", "/").replaceAll("~0", "~")];
  const { $ref, ...rest } = part;
  if (target && depth < 20) return resolved({ ...target, ...rest }, root, depth + 1);
  const others = part.anyOf?.filter((each) => each.type !== "null") ?? [];
  if (others.length === 1 && part.anyOf.length === 2) {
    const { anyOf, ...said } = part;
    return { ...resolved(others[0], root, depth + 1), ...said, nullable: true };
  }
  return part;
}

function fieldFor(schema, name, id, required) {
  const make = Array.isArray(schema.enum) ? choice : (KINDS[schema.type] ?? json);
  const { control, value } = make(schema, required);
  const help = [schema.title, schema.description]
    .filter((each) => each && each !== name)
    .join(": ");
  control.id = id;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  const label = element("label", { for: id }, name);
  const isCheckbox = control.type === "checkbox";
  const parts = isCheckbox ? [control, label] : [label, control];
  const hint = help ? element("small", { id: `${id}-help` }, help) : null;
  return {
    element: element("div", { class: isCheckbox ? "field check" : "field" }, ...parts, hint),
    value,
  };
}

const KINDS = { __proto__: null, string: text, number, integer: number, boolean };

/** What stands for an empty field: `null` where that will do, nothing where that means as much. */
const empty = (schema, required) =>
  schema.nullable ? null : required || schema.default !== undefined ? "" : undefined;

function text(schema, required) {
  const control = line(schema);
  return { control, value: () => control.value || empty(schema, required) };
}

function number(schema, required) {
  const control = line(
    schema,
    schema.minimum >= 0 ? (schema.type === "integer" ? "numeric" : "decimal") : null,
  );
  return {
    control,
    value() {
      const typed = control.value.trim();
      const given = typed === "" ? NaN : Number(typed);
      const isExact =
        schema.type === "number" || !Number.isInteger(given) || Number.isSafeInteger(given);
      return Number.isFinite(given) && isExact ? given : control.value || empty(schema, required);
    },
  };
}

function line(schema, inputmode = null) {
  const value = schema.default == null ? "" : written(schema.default);
  const attributes = { autocomplete: "off", inputmode };
  if (value.includes("\n")) return element("textarea", { ...attributes, rows: "3" }, value);
  return element("input", { ...attributes, type: "text", value });
}

function boolean(schema, required) {
  if (schema.nullable) return choice({ ...schema, enum: [true, false] }, required);
  const control = element("input", { type: "checkbox", checked: schema.default === true });
  return { control, value: () => control.checked };
}

function choice(schema, required) {
  const values = [...schema.enum];
  if (schema.nullable || (!required && schema.default === undefined)) values.unshift(undefined);
  const options = values.map((each, n) => {
    const selected = n > 0 && each === schema.default;
    return element(
      "option",
      { value: String(n), selected },
      each === undefined ? "" : written(each),
    );
  });
  const control = element("select", {}, ...options);
  const chosen = (value) => (value === undefined ? empty(schema, required) : value);
  return { control, value: () => chosen(values[control.selectedIndex]) };
}

function json(schema, required) {
  const value = schema.default == null ? null : JSON.stringify(schema.default);
  const control = element("textarea", { rows: "3", spellcheck: "false", class: "code" }, value);
  return {
    control,
    value() {
      if (!control.value.trim()) return empty(schema, required);
      try {
        return JSON.parse(control.value);
      } catch (error) {
        throw new Error(`${control.labels[0].textContent} is no JSON: ${error.message}`);
      }
    },
  };
}

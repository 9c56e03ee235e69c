// The sheet of settings: for the chat that is shown, and what the next new one starts with.

import { key, models, useKey } from "./api.js";
import { h, press } from "./dom.js";
import { tools } from "./request.js";
import { keep, keepDefaults, kept } from "./store.js";
import { LANGUAGES, language, t } from "./words.js";

const NUMBERS = [
  ["temperature", 0, 5, 0.1], ["top_p", 0.01, 1, 0.01], ["top_k", 0, 1000, 1], ["min_p", 0, 1, 0.01],
  ["max_tokens", 1, 1_000_000, 1], ["seed", 0, 4_294_967_295, 1], ["repetition_penalty", 0.1, 3, 0.05],
];
const EXAMPLE = [{
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a place now",
    parameters: {
      type: "object",
      properties: { place: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
      required: ["place"],
    },
  },
}];
const SCHEMA = {
  type: "object",
  properties: { title: { type: "string" }, steps: { type: "array", items: { type: "string" } } },
  required: ["title", "steps"],
  additionalProperties: false,
};

function choices(label, options, value, onchange) {
  const name = `c${Math.random().toString(36).slice(2)}`;
  return h("fieldset.choices", {}, h("legend", {}, label), h("div", {}, options.map(([option, text]) =>
    h("label", {}, h("input", { type: "radio", name, value: option, checked: option === value,
      onchange: () => onchange(option) }), h("span", {}, text)))));
}

function area(label, value, hint, oninput, props = {}) {
  const field = h("textarea", { value, rows: "3", spellcheck: "false", ...props,
    oninput: () => oninput(field.value) });
  return h("label.field", {}, label && h("span", {}, label), field, hint);
}

export class Settings {
  // app: {conversation(), changed(), reworded()}
  constructor(root, app) {
    this.root = root;
    this.app = app;
    root.addEventListener("click", (event) => event.target === root && root.close());
    root.addEventListener("close", () => app.changed());
  }

  open() {
    this.draw();
    this.root.showModal();
  }

  set(name, value) {
    const { settings } = this.app.conversation();
    settings[name] = value;
    keepDefaults(settings);
    this.app.conversation().save();
  }

  draw() {
    const s = this.app.conversation().settings;
    this.root.setAttribute("aria-label", t("settings"));
    this.root.replaceChildren(h("form.sheet", { method: "dialog" },
      h("header", {}, h("h2", {}, t("settings")), press("close", t("close"), () => this.root.close())),
      h("p.note", {}, t("settingsNote")),
      this.model(s),
      area(t("system"), s.system, null, (v) => this.set("system", v), { placeholder: t("systemHint"), rows: "4" }),
      this.sampling(s),
      choices(t("thinkingMode"), [["", t("asModel")], ["on", t("on")], ["off", t("off")]], s.thinking,
        (v) => this.set("thinking", v)),
      this.tools(s), this.form(s), this.page()));
  }

  model(s) {
    const select = h("select", { onchange: () => this.set("model", select.value) });
    const fill = (names) => select.replaceChildren(...[...new Set([s.model, ...names].filter(Boolean))]
      .map((n) => h("option", { value: n }, n)));
    fill([]);
    models().then((names) => {
      fill(names);
      select.value = s.model || names[0] || "";
    }, () => {});
    return h("label.field", {}, h("span", {}, t("useModel")), select);
  }

  sampling(s) {
    const fields = NUMBERS.map(([name, min, max, step]) => {
      const field = h("input", { type: "number", min, max, step, value: s[name], placeholder: t("byServer"),
        oninput: () => field.checkValidity() && this.set(name, field.value) });
      return h("label", {}, h("span", {}, t(name)), field);
    });
    return h("fieldset", {}, h("legend", {}, t("sampling")), h("div.grid", {}, fields),
      area(`${t("stops")} · ${t("stopsHint")}`, s.stops, null, (v) => this.set("stops", v), { rows: "2" }));
  }

  // a field of JSON that says what is wrong while it is typed
  json(label, name, describe, example) {
    const s = this.app.conversation().settings;
    const word = h("small", {}, "");
    const check = (text) => {
      word.className = "";
      try {
        word.textContent = text.trim() ? describe(text) : "";
      } catch (error) {
        word.className = "bad";
        word.textContent = t("badJson", { why: error.message });
      }
    };
    const props = { rows: "6", class: "mono", "aria-label": label };
    const box = area("", s[name], word, (v) => (this.set(name, v), check(v)), props);
    const insert = h("button.quiet", { type: "button", onclick: () => {
      const text = JSON.stringify(example, null, 2);
      box.querySelector("textarea").value = text;
      this.set(name, text);
      check(text);
    } }, t("example"));
    check(s[name]);
    return h("div", {}, box, insert);
  }

  tools(s) {
    return h("fieldset", {}, h("legend", {}, t("tools")), h("p.note", {}, t("toolsHint")),
      this.json(t("tools"), "tools", (text) => t("goodTools", { n: tools(text).length }), EXAMPLE),
      choices(t("choice"), [["auto", t("auto")], ["required", t("required")], ["none", t("none")]], s.choice,
        (v) => this.set("choice", v)));
  }

  form(s) {
    const box = h("div", { hidden: s.form !== "schema" }, h("p.note", {}, t("schemaHint")), this.json(t("schemaHint"), "schema",
      (text) => (JSON.parse(text), t("goodSchema")), SCHEMA));
    return h("div.form", {}, choices(t("form"), [["text", t("text")], ["json", t("json")], ["schema", t("schema")]],
      s.form, (v) => {
        this.set("form", v);
        box.hidden = v !== "schema";
      }), box);
  }

  page() {
    const secret = h("input", { type: "password", autocomplete: "off", value: key(),
      onchange: () => useKey(secret.value) });
    const themes = [["", t("system_theme")], ["light", t("light")], ["dark", t("dark")]];
    return h("fieldset", {}, h("legend", {}, t("page")),
      choices(t("language"), Object.entries(LANGUAGES), language(), (v) => {
        keep("lang", v);
        document.documentElement.lang = v;
        this.app.reworded();
        this.draw();
      }),
      choices(t("theme"), themes, kept("theme") ?? "", (v) => {
        keep("theme", v);
        if (v) document.documentElement.dataset.theme = v;
        else delete document.documentElement.dataset.theme;
      }),
      h("label.field", {}, h("span", {}, t("key")), secret, h("small", {}, t("keyNote"))));
  }
}

// asks for the key; `again` is what was refused without it
export function keySheet(root, again) {
  const field = h("input", { type: "password", autocomplete: "off", required: true, "aria-label": t("key") });
  const form = h("form.sheet.key", { method: "dialog", onsubmit: () => {
    useKey(field.value);
    again();
  } }, h("h2", {}, t("needKey")), field, h("p.note", {}, t("keyNote")), h("div.row", {},
    h("button.quiet", { type: "button", onclick: () => root.close() }, t("cancel")),
    h("button.main", {}, t("useKey"))));
  root.setAttribute("aria-label", t("needKey"));
  root.replaceChildren(form);
  if (!root.open) root.showModal();
  field.focus();
}

// A block of code: its language, colours, copy, and a preview where it is a page.

import { copier, h, icon, save } from "./dom.js";
import { highlight } from "./highlight.js";
import { t } from "./words.js";

const ENDINGS = { python: "py", javascript: "js", typescript: "ts", bash: "sh", shell: "sh", rust: "rs" };

export function isPage(part) {
  const language = part.language.toLowerCase();
  if (language === "html" || language === "svg") return true;
  return !language && /^\s*(<!doctype html|<html|<svg)/i.test(part.text);
}

export function download(part) {
  const language = part.language.toLowerCase() || (isPage(part) ? "html" : "txt");
  const type = language === "html" ? "text/html" : "text/plain";
  save(`flashling.${ENDINGS[language] ?? language.replace(/\W/g, "")}`, part.text, type);
}

// `onpreview` is called with {language, text}
export function codeBlock(first, onpreview) {
  let part = first;
  const code = h("code");
  const show = h("button.quiet.open", { type: "button", onclick: () => onpreview(part) },
    icon("eye"), t("preview"));
  const root = h("figure.code", {},
    h("figcaption", {}, h("span.language", {}, part.language || "text"), show,
      copier(t("copy"), t("copied"), () => part.text),
      h("button.press", { type: "button", title: t("download"), "aria-label": t("download"),
        onclick: () => download(part) }, icon("save"))),
    h("pre", { tabindex: "0" }, code));
  root.update = (next) => {
    part = next;
    code.replaceChildren(highlight(part.text, part.language));
    show.hidden = !isPage(part);
  };
  root.update(part);
  return root;
}

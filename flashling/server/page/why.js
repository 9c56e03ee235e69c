// Where an answer's prompt came from: what was held of it, why no more, and where it parts from the
// one before it.

import { explain } from "./api.js";
import { h, press } from "./dom.js";
import { compact } from "./figures.js";
import { bar, legend } from "./plot.js";
import { body } from "./request.js";
import { t } from "./words.js";

// the server's reasons, with their places in the prompt
const REASONS = [
  [/^never seen$/, "whyNew"],
  [/^evicted$/, "whyEvicted"],
  [/^first difference at token (\d+)$/, "whyPart"],
  [/^no checkpoint between tokens (\d+) and (\d+)$/, "whyBetween"],
  [/^$|^all but the last token is held$/, "whyAll"],
];

function reason(text) {
  for (const [pattern, word] of REASONS) {
    const found = pattern.exec(text);
    if (found) return t(word, { a: found[1], b: found[2] });
  }
  return text;
}

// the part of an answer's request that makes its prompt
function prompt(conversation, node) {
  const settings = { ...conversation.settings, ...node.asked };
  const whole = body(conversation.path(node.parent), settings, "");
  const { messages, tools, tool_choice, chat_template_kwargs } = whole;
  return { messages, tools, tool_choice, chat_template_kwargs };
}

function share(title, tokens, cached, tier, why) {
  const parts = [
    { name: t("heldIn", { tier: t(tier || "nowhere") }), value: cached, kind: "first" },
    { name: t("readAnew"), value: tokens - cached, kind: "rest" },
  ].filter((p) => p.value).map((p) => ({ ...p, text: compact(p.value) }));
  return h("section", {}, h("h3", {}, title), bar(parts),
    legend(parts.map((p) => ({ ...p, value: p.text }))), h("p", {}, reason(why)));
}

function difference(found) {
  const heading = h("h3", {}, t("besideLast"));
  if (!found) return h("section", {}, heading, h("p", {}, t("sameAsLast")));
  const [last, now] = found.after;
  // the end of the turn before is what every next one goes on from
  if (found.tokens[0] === null) return h("section", {}, heading, h("p", {}, t("goesOn", { n: found.token })));
  const line = (name, text) => h("div", {}, h("dt", {}, name),
    h("dd", {}, h("span", {}, found.before), h("mark", {}, text || t("itsEnd"))));
  return h("section", {}, heading, h("p", {}, t("partsAt", { n: found.token })),
    h("dl.parting", {}, line(t("lastPrompt"), last), line(t("thisPrompt"), now)));
}

export async function whySheet(root, conversation, node) {
  const inside = h("div.inside", {}, h("p.note", {}, t("asking")));
  root.setAttribute("aria-label", t("why"));
  root.replaceChildren(h("form.sheet.why", { method: "dialog" },
    h("header", {}, h("h2", {}, t("why")), press("close", t("close"), () => root.close())), inside));
  if (!root.open) root.showModal();
  const usage = node.stats.usage;
  const details = usage?.prompt_tokens_details ?? {};
  const then = usage && share(t("whyThen"), usage.prompt_tokens, details.cached_tokens ?? 0,
    details.restored_from, details.miss_reason ?? "");
  const last = conversation.path(node.parent).findLast((n) => n.role === "assistant");
  try {
    const prompts = [last, node].filter(Boolean).map((n) => prompt(conversation, n));
    const found = await explain(prompts);
    const now = found.prompts.at(-1);
    inside.replaceChildren(...[then, last && difference(found.first_difference),
      share(t("whyNow"), now.tokens, now.cached_tokens, now.tier, now.reason)].filter(Boolean));
  } catch (error) {
    inside.replaceChildren(...[then, h("p.bad", { role: "alert" }, error.message || t("offline"))].filter(Boolean));
  }
}

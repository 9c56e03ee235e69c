// The ground a generated page stands on. It takes the text of a page from its parent and shows it
// in a frame that inherits this document's policy: no origin, no network, no way out.
"use strict";

let shown = null;

function show(text) {
  const next = document.createElement("iframe");
  next.setAttribute("sandbox", "allow-scripts");
  next.setAttribute("title", "preview");
  Object.assign(next.style, {
    position: "fixed", inset: "0", width: "100%", height: "100%", border: "0", opacity: "0",
  });
  // the old page stays until the new one stands: no flicker while an answer grows
  next.addEventListener("load", () => {
    next.style.opacity = "1";
    if (shown !== next) shown?.remove();
    shown = next;
  });
  next.srcdoc = text;
  document.body.append(next);
  while (document.body.children.length > 2) document.body.firstElementChild.remove();
}

window.addEventListener("message", (event) => {
  if (event.source === window.parent && typeof event.data?.page === "string") show(event.data.page);
});
window.parent.postMessage({ preview: "ready" }, "*");

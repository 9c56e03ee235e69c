// Before the first paint: the theme and the language that were chosen.
"use strict";

try {
  const theme = localStorage.getItem("flashling.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  const chosen = localStorage.getItem("flashling.lang");
  const own = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
  document.documentElement.lang = chosen === "zh" || chosen === "en" ? chosen : own;
} catch {
  // storage may be forbidden: the page works without it
}

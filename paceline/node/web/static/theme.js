// Light or dark: as the system says, unless a person chose. Loaded first, so that nothing flashes.

const KEPT = "paceline.theme";

export function theme() {
  return localStorage.getItem(KEPT) ?? "auto";
}

export function setTheme(name) {
  if (name === "auto") localStorage.removeItem(KEPT);
  else localStorage.setItem(KEPT, name);
  apply();
}

function apply() {
  const chosen = theme();
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

apply();

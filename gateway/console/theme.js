// Sets the theme before the first paint; the switch in the shell calls setTheme.
(() => {
  const root = document.documentElement;
  const read = () => {
    try {
      return localStorage.getItem("theme") || "system";
    } catch {
      return "system"; // storage is switched off
    }
  };
  const stored = read();
  root.dataset.theme = ["light", "dark"].includes(stored) ? stored : "system";
})();
